"""A model fills the disk of its node, or passes its own limit there, and pods are evicted.

What happens
Weights that are downloaded into an emptyDir or the container's own layer lie on the node's disk, and nobody
counted them: without a request the scheduler packs such pods together. When the disk runs low the kubelet
evicts those that use more than they asked for; with a limit it evicts the pod that passes it. The replacement
downloads the same again. A volume that is too small ends the same way, with an error in the log.

How it shows
Pods `Failed`, reason `Evicted`: `The node was low on resource: ephemeral-storage`, `exceeds the total limit
of containers`, `exceeded its local ephemeral storage limit`, `Usage of EmptyDir volume ... exceeds the
limit`, or only the event; DiskPressure on the node; others evicted beside it; `No space left on device`.

When we stay silent
It was long ago, or once and everything serves since; no pod used so much that it stands out; the volume is in
memory; a download cache ran full.

What we propose
A request of what was used, or of what the weights take, and a fifth more; a higher limit where one was
passed; a larger claim where its class can grow; nothing where no node has so much: then the weights belong on
a volume.

Sources
GoogleCloudPlatform/kubernetes-engine-samples#1581, LMCache/LMCache#1399, defilantech/LLMKube#1452; kubelet
1.37 eviction manager.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.life import RECENT_S
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.quantity import GIB, counted, gibibytes
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_object
from tillerman.patterns.model_data_staging.disk_repairs import asked, provided, repair
from tillerman.patterns.model_data_staging.disk_use import (
    DiskTrouble,
    disk_troubles,
    on_own_disk,
    weights_bytes,
)

#: A fifth more than was used: the kubelet evicts before the disk is full, and caches grow.
MARGIN = 1.2
#: Where a limit was passed and nothing says by how much: this many times the limit.
GROWTH = 1.5
#: Whoever used less is not the reason that a node's disk ran low.
LEAST_BYTES = 5 * GIB
#: An eviction longer ago than this is history, whatever the state of its owner.
DAY_S = 86400


@dataclass(frozen=True, kw_only=True)
class EphemeralStorageEvicted(Fault):
    """The owner whose pods filled a disk, and those who were evicted with them."""

    layer = Layer.STAGING

    trouble: DiskTrouble
    container: str
    used_bytes: float
    needed_bytes: float
    pods: int
    others: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners of pods that used the space, each with all whom it cost."""
        groups: dict[Ref, list[DiskTrouble]] = {}
        nodes: dict[str, list[DiskTrouble]] = {}
        for one in disk_troubles(cluster):
            if one.kind == "node":
                nodes.setdefault(one.pod.spec.node_name, []).append(one)
            else:
                groups.setdefault(cluster.owner_of(one.pod), []).append(one)
        for together in nodes.values():
            worst = max(together, key=lambda one: _used(cluster, one))
            if _used(cluster, worst) >= LEAST_BYTES:
                groups.setdefault(cluster.owner_of(worst.pod), []).extend(together)
        for owner, troubles in groups.items():
            found = cls._of(cluster, owner, troubles)
            if found:
                yield found

    @classmethod
    def _of(cls, cluster: Snapshot, owner: Ref, troubles: list[DiskTrouble]) -> Self | None:
        mine = [one for one in troubles if cluster.owner_of(one.pod) == owner]
        worst = max(mine, key=lambda one: _used(cluster, one))
        used = _used(cluster, worst)
        needed = max(used * MARGIN, worst.limit_bytes * GROWTH)
        container = worst.largest[0] or (worst.name if worst.kind == "container" else _main(worst.pod))
        if not _current(cluster, owner, mine) or provided(cluster, worst, container, needed):
            return None
        bystanders = [one.pod for one in troubles if cluster.owner_of(one.pod) != owner]
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=(
                worst.evidence,
                *_pressure(cluster, worst.pod),
                *(_told(pod) for pod in bystanders[:3]),
            ),
            hurts=_hurt(cluster, owner, mine, bystanders),
            certainty="proven" if worst.kind != "node" or worst.used_bytes else "likely",
            trouble=worst,
            container=container,
            used_bytes=used,
            needed_bytes=needed,
            pods=len(mine),
            others=len(bystanders),
        )

    def summary(self) -> str:
        """How much was used against what was asked or allowed, and how many paid for it."""
        one, limit = self.trouble, gibibytes(self.trouble.limit_bytes)
        use = f"{'' if one.used_bytes else 'about '}{gibibytes(self.used_bytes)}"
        needs = f", its model takes {use}" if self.used_bytes else ""
        told = {
            "claim": f"`{self.container}` finds no space left on the claim `{one.name}` of {limit}{needs}",
            "full": f"`{self.container}` finds no space left on the disk of {one.pod.spec.node_name}{needs}",
            "volume": f"{self._evicted} for passing the limit of {limit} of the emptyDir `{one.name}`{needs}",
            "container": f"{self._evicted} for passing the ephemeral-storage limit of {limit}{needs}",
            "pod": f"{self._evicted} for passing the ephemeral-storage limit of {limit}{needs}",
            "node": f"{self._evicted} when {one.pod.spec.node_name} ran low on ephemeral-storage, of which "
            f"`{self.container}` used {use}",
        }
        cost = f"; {counted(self.others, 'pod')} of others evicted with it" if self.others else ""
        return told[one.kind] + cost

    @property
    def _evicted(self) -> str:
        return f"{counted(self.pods, 'pod')} evicted"

    def explain(self) -> list[str]:
        """From the download to the eviction."""
        one, limit = self.trouble, gibibytes(self.trouble.limit_bytes)
        size = f" {gibibytes(self.used_bytes)}" if self.used_bytes else ""
        request = asked(one.pod, self.container, "requests")
        first = f"`{self.container}` keeps its model{size} on the node's own disk"
        if one.kind == "node":
            kept = gibibytes(request) if request else "none of it"
            second = f"it asked for {kept}, so the scheduler did not keep the space free"
            third = "the disk ran low, and the kubelet evicted those that used more than they asked for"
        elif one.evicted:
            second = f"it may use {limit} of it"
            third = "the kubelet evicts a pod that passes its limit"
        else:
            first = f"the model{size} of `{self.container}` goes to {one.name or 'the node'}"
            second = "there is not as much space left"
            third = "the write fails, and the step ends"
        return [first, second, third, "the next try downloads the same again"]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A request that keeps the space free, a limit that allows it, a larger claim."""
        change = repair(cluster, self.trouble, self.container, self.needed_bytes)
        return [change] if change else []

    def advice(self) -> list[str]:
        """Where weights belong, and how to clear up."""
        pod = self.trouble.pod
        return [
            "weights on a volume, a LocalModelCache or an image volume take nothing of the node's disk",
            f"`kubectl get --raw /api/v1/nodes/{pod.spec.node_name}/proxy/stats/summary` shows who uses it",
            f"`kubectl -n {pod.namespace} delete pod --field-selector=status.phase=Failed` clears up",
        ]


def _main(pod: Pod) -> str:
    return pod.spec.containers[0].name if pod.spec.containers else ""


def _used(cluster: Snapshot, one: DiskTrouble) -> float:
    """What a pod used: as the kubelet said, else what its model takes where it wrote to."""
    said = sum(one.used_bytes.values())
    return said or (weights_bytes(cluster, one.pod) if on_own_disk(one.pod) or one.kind == "claim" else 0.0)


def _current(cluster: Snapshot, owner: Ref, mine: list[DiskTrouble]) -> bool:
    """Whether this goes on: today and again, or today and with something missing since."""
    ages = [age for one in mine if (age := cluster.age_s(one.at)) is not None]
    pods = [pod for pod in cluster.pods_of(owner) if not pod.finished]
    well = bool(pods) and all(pod.ready for pod in pods)
    today = [age for age in ages if age <= DAY_S]
    if well:
        return len(today) > 1 and min(today) <= RECENT_S
    return bool(today) or not ages


def _hurt(cluster: Snapshot, owner: Ref, mine: list[DiskTrouble], others: Iterable[Pod]) -> tuple[Ref, ...]:
    """The owner, its pods that are gone or not there yet, and everybody who paid for it on the same node."""
    node = cluster.node(mine[0].pod.spec.node_name)
    waiting = (pod.ref for pod in cluster.pods_of(owner) if not pod.ready and not pod.finished)
    barred = [
        pod
        for pod, _ in cluster.troubled_as("unschedulable")
        if "disk-pressure" in cluster.scheduling_message(pod)
    ]
    paid = [ref for pod in (*others, *barred) for ref in (pod.ref, cluster.owner_of(pod))]
    on_node = (node.ref,) if node and mine[0].kind in ("node", "full") else ()
    return tuple(dict.fromkeys((owner, *(one.pod.ref for one in mine), *waiting, *paid, *on_node)))


def _pressure(cluster: Snapshot, pod: Pod) -> tuple[Evidence, ...]:
    node = cluster.node(pod.spec.node_name)
    pressure = node.condition("DiskPressure") if node else None
    if node is None or pressure is None or pressure.status != "True":
        return ()
    return (seen_object(node.ref, "status.conditions[DiskPressure]", pressure.message or pressure.status),)


def _told(pod: Pod) -> Evidence:
    return seen_object(pod.ref, "status.message", pod.status.message)
