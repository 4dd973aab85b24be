"""A vector database keeps its data on the node's disk or in its container, and lost them when its pod moved.

What happens
A database without a volume, or with one that is mounted where it does not write, works well until its pod is
made anew: by a drain, a rollout, an eviction, with no volume at all by any restart. It comes back healthy and
empty. Retrieval finds nothing, answers come without sources, and nobody sees an error but the clients.

How it shows
Qdrant, Milvus, Weaviate, Chroma, pgvector or the like whose data folder is an emptyDir or no mount at all; a
pod younger than its workload; `Collection ... doesn't exist` (404) in logs of clients; collections or vectors
counted 0, or fewer than before.

When we stay silent
The folder lies on a lasting volume; the database holds data now. Where nothing happened yet, it is worth
knowing and no more.

What we propose
The mount path that the image really uses, where a claim is mounted elsewhere; an unused claim of the
database's name in place of the emptyDir. Else advice: a StatefulSet with volumeClaimTemplates, and the data
again.

Sources
qdrant/qdrant#1640, qdrant/qdrant#3445, zilliztech/milvus-helm#156, milvus-io/milvus#40418,
chroma-core/chroma#6132, weaviate/weaviate#7162.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Ref
from tillerman.cluster.quantity import duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, Severity, seen_log, seen_metric, seen_object
from tillerman.patterns.stateful_service.stores import Store, clients, count_of, elsewhere, moved_s, stores

#: A move longer ago than this, of which nobody complains, was made up for since.
RECENT_S = 86400
#: A client that misses its collection once may be about to make it.
COMPLAINTS = 2
LOST = (
    r"(?i)collection\W{1,3}([\w.-]+)\W{1,3}(?:doesn\W{1,2}t exist|does not exist|not found)"
    r"|can't find collection|collection not found|could not find class \W?([\w.-]+)"
    r"|relation \W*([\w.]+)\W* does not exist"
)
_MADE = (
    r"(?i)(?:created|recreated|creating) (?:the )?collection|upserted \d+|PUT /collections/[\w.-]+[ ?].* 200"
)


@dataclass(frozen=True, kw_only=True)
class VectorDbWithoutPv(Fault):
    """One vector database whose data do not outlive its pod."""

    layer = Layer.STAGING

    store: Store
    pods: int
    moved_s: float | None
    lost: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Databases without a lasting volume at their data, one finding for each workload."""
        groups: dict[Ref, list[Store]] = {}
        for store in stores(cluster):
            if store.kept != "volume":
                groups.setdefault(cluster.owner_of(store.pod), []).append(store)
        for owner, found in groups.items():
            yield cls._of(cluster, owner, found)

    @classmethod
    def _of(cls, cluster: Snapshot, owner: Ref, found: list[Store]) -> Self:
        store = min(found, key=lambda one: moved_s(cluster, one) or float("inf"))
        moved = moved_s(cluster, store)
        first, last = count_of(cluster, store)
        complaint = _complaint(cluster, store) if moved is not None and not last else None
        emptied = bool(moved is not None and last == 0 and (first or complaint))
        lost = ""
        if emptied or complaint:
            lost = complaint[0] if complaint else f"{first:g} counted before, none now"
        meant = store.kind.cache or elsewhere(store) is not None
        recent = moved is not None and moved <= RECENT_S and not last and not meant
        severity: Severity = "info"
        if lost or recent:
            severity = "critical" if lost and len(found) == 1 else "warning"
        return cls(
            subject=owner,
            severity=severity,
            evidence=(*_where(store), *_counted(cluster, store), *((complaint[1],) if complaint else ())),
            hurts=(owner, *(one.pod.ref for one in found)),
            certainty="proven" if lost or severity == "info" else "likely",
            store=store,
            pods=len(found),
            moved_s=moved,
            lost=lost,
        )

    @property
    def _place(self) -> str:
        place = "an emptyDir" if self.store.kept == "emptyDir" else "the container's own layer"
        return f"{self.store.path} is {place}"

    def summary(self) -> str:
        """Where the data are, since when they are gone, and who misses them."""
        mounted = elsewhere(self.store)
        but = f", the claim is mounted at {mounted.mount_path}" if mounted else ""
        since = f"; made anew {duration(self.moved_s)} ago" if self.moved_s is not None else ""
        gone = f", since then empty: {self.lost}" if self.lost else ""
        who = f"{self.store.kind.name} `{self.store.container.name}`"
        return f"{who} has no lasting volume: {self._place}{but}{since}{gone}"

    def explain(self) -> list[str]:
        """From the missing volume to the empty answers."""
        found = [f"{self.store.kind.name} writes to {self.store.path}: {self._place}"]
        if self.moved_s is None:
            return [*found, "what is there is gone as soon as the pod is made anew; so far it was not"]
        found.append(f"{duration(self.moved_s)} ago it was made anew, and began with an empty folder")
        if self.lost:
            found.append(f"what it held is gone: {self.lost}")
        return [*found, "it is Ready all the same, and retrieval finds nothing"]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The path that the image uses, or a claim that is there unused."""
        mounted = elsewhere(self.store)
        change = None
        if mounted:
            change = _remounted(cluster, self.store)
        elif claim := _unused_claim(cluster, self.store):
            change = _on_claim(cluster, self.store, claim)
        return [change] if change else []

    def advice(self) -> list[str]:
        """A volume, and the data again."""
        space = self.store.pod.namespace
        found = [
            f"a StatefulSet with volumeClaimTemplates at {self.store.path} keeps the data (the templates "
            "of one that exists cannot be changed: make it anew)",
            "ingest again, or restore a snapshot, once the volume is there",
        ]
        if not self.lost:
            name = self.store.pod.name
            found.append(
                f"`kubectl -n {space} exec {name} -- du -sh {self.store.path}` shows what would be lost"
            )
        return found


def _where(store: Store) -> tuple[Evidence, ...]:
    mounts = ", ".join(f"{m.name} at {m.mount_path}" for m in store.container.volume_mounts) or "none"
    return (seen_object(store.pod.ref, f"spec.containers[{store.container.name}].volumeMounts", mounts),)


def _counted(cluster: Snapshot, store: Store) -> tuple[Evidence, ...]:
    first, last = count_of(cluster, store)
    if last is None:
        return ()
    name = next(name for name in store.kind.counts if cluster.series(store.pod).values(name))
    return (seen_metric(str(store.pod.ref), name, f"{first:g}, then {last:g}"),)


def _complaint(cluster: Snapshot, store: Store) -> tuple[str, Evidence] | None:
    """A client that misses what the database held, and has not made it anew: its words, the evidence."""
    for pod in clients(cluster, store):
        for container in pod.spec.containers:
            log = cluster.log(pod, container.name)
            missed = list(log.find(LOST)) if log else []
            made = log.last(_MADE) if log else None
            if len(missed) < COMPLAINTS or (made and made[0].number > missed[-1][0].number):
                continue
            line, found = missed[-1]
            what = next((group for group in found.groups() if group), "a collection")
            who = "clients miss" if pod is store.pod else f"{cluster.owner_of(pod)} misses"
            return f"{who} `{what}`", seen_log(pod.ref, container.name, line.number, line.text)
    return None


def _remounted(cluster: Snapshot, store: Store) -> Change | None:
    """The mounted claim at the path where the database writes."""
    place, mounted = cluster.place_of(store.pod, store.container.name), elsewhere(store)
    for at, item in enumerate(place.target.items(f"{place.container}.volumeMounts") if place else ()):
        if isinstance(item, dict) and mounted and item.get("mountPath") == mounted.mount_path:
            why = f"{store.kind.name} writes to {store.path}, not to {mounted.mount_path}"
            field = f"volumeMounts[{at}].mountPath"
            return cluster.edit(store.pod, store.container.name, field, store.path, why)
    return None


def _unused_claim(cluster: Snapshot, store: Store) -> str | None:
    """The one claim of the namespace that has the workload's name in its own and that no pod mounts."""
    workload = cluster.workload_of(store.pod)
    space = store.pod.namespace
    used = {
        str((v.get("persistentVolumeClaim") or {}).get("claimName"))
        for pod in cluster.pods_in(space)
        for v in pod.spec.volumes
    }
    free = [
        claim.name
        for claim in cluster.all("PersistentVolumeClaim", space)
        if workload and workload.name in claim.name and claim.name not in used
    ]
    return free[0] if len(free) == 1 else None


def _on_claim(cluster: Snapshot, store: Store, claim: str) -> Change | None:
    """The database's folder on a claim: in place of its emptyDir, or as a volume and a mount."""
    place = cluster.place_of(store.pod, store.container.name)
    if place is None:
        return None
    why = f"the claim `{claim}` is there and nobody mounts it; {store.path} has to outlive the pod"
    name = store.mount.name if store.mount else "data"
    volume = {"name": name, "persistentVolumeClaim": {"claimName": claim}}
    listed = place.target.items(f"{place.pod}.volumes")
    at = next((i for i, v in enumerate(listed) if isinstance(v, dict) and v.get("name") == name), len(listed))
    edits: list[tuple[str, dict[str, Any]]] = [(f"{place.pod}.volumes[{at}]", volume)]
    if store.mount is None:
        count = len(place.target.items(f"{place.container}.volumeMounts"))
        edits.append((f"{place.container}.volumeMounts[{count}]", {"name": name, "mountPath": store.path}))
    made = tuple(Edit(path=path, before=place.target.value(path), after=after) for path, after in edits)
    return Change(target=place.target.ref, edits=made, why=why)
