"""What the kubelet and logs say of full disks: who was evicted, which limit was passed, who used how much."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tillerman.cluster.model import Container, Event, Pod
from tillerman.cluster.models import model_of
from tillerman.cluster.quantity import quantity
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import Download, cache_of, failed_downloads, uri_of
from tillerman.patterns.fault import Evidence, seen_log, seen_object
from tillerman.sizing.weights import weights_of

RESOURCE = "ephemeral-storage"
#: The kubelet's own sentences. Source: `pkg/kubelet/eviction/helpers.go` 1.37, the same since 1.22.
_NODE = re.compile(r"node was low on resource: ephemeral-storage|node had condition: \[DiskPressure\]")
_USED = re.compile(r"Container ([\w.-]+) was using ([\w.]+), request is ([\w.]+)")
_LIMITS = (
    ("container", re.compile(r'Container "?([\w.-]+)"? exceeded its local ephemeral storage limit "(\w+)"')),
    ("volume", re.compile(r'Usage of EmptyDir volume "([\w.-]+)" exceeds the limit "(\w+)"')),
    ("pod", re.compile(r"Pod ephemeral local storage usage exceeds the total limit of (containers) (\w+)")),
)
#: A write that found no room; shared memory says the same of itself and is another matter.
FULL = r"^(?!.*\bshm).*(?:No space left on device|\[Errno 28\]|os error 28|ENOSPC)"
_PATH = re.compile(r"(?:No space left on device|Errno 28\])[^'\"/]*['\"]?(/[\w./-]+)")


@dataclass(frozen=True, kw_only=True)
class DiskTrouble:
    """One pod that had no more room on a disk.

    `kind`: node (evicted, the node ran low), pod, container or volume (evicted, that limit was passed), full
    (its log says so, on the node's disk), claim (its log says so, on a volume). `name`: the container, volume
    or claim. Bytes used by container, as far as the kubelet said.
    """

    pod: Pod
    kind: str
    at: datetime | None
    evidence: Evidence
    used_bytes: dict[str, float]
    name: str = ""
    limit_bytes: float = 0.0

    @property
    def largest(self) -> tuple[str, float]:
        """The container that used most, and how much; "" and 0 when nobody said."""
        return max(self.used_bytes.items(), key=lambda used: used[1], default=("", 0.0))

    @property
    def evicted(self) -> bool:
        """Whether the kubelet evicted the pod for it."""
        return self.kind not in ("full", "claim")


def disk_troubles(cluster: Snapshot) -> Iterator[DiskTrouble]:
    """Every pod that was evicted for a disk, and every download that found one full."""
    evicted = [pod for pod, _ in cluster.troubled_as("evicted")]
    for pod in evicted:
        said = pod.status.message
        event = cluster.event_saying(pod.ref, "", "Evicted")
        if found := _evicted(cluster, pod, said or (event.text if event else ""), event):
            yield found
    gone = {pod.name for pod in evicted}
    for event in cluster.events:
        if event.reason == "Evicted" and event.about.kind == "Pod" and event.about.name not in gone:
            gone.add(event.about.name)
            likeness = _likeness(cluster, event)
            if likeness and (found := _evicted(cluster, likeness, event.text, event)):
                yield found
    for one in failed_downloads(cluster):
        if found := _full(cluster, one):
            yield found


def _likeness(cluster: Snapshot, event: Event) -> Pod | None:
    """The pod an event is about; where it is gone, another one of the same controller."""
    space, name = event.about.namespace, event.about.name
    stem = name.rsplit("-", 1)[0]
    siblings = (p for p in cluster.pods_in(space) if p.name.rsplit("-", 1)[0] == stem)
    return cluster.pod(space, name) or next(siblings, None)


def _evicted(cluster: Snapshot, pod: Pod, said: str, event: Event | None) -> DiskTrouble | None:
    """How a pod was evicted for disk space, or None when it was for something else."""
    at = event.last_seen if event else None
    at = at or max(
        (c.last_transition_time for c in pod.status.conditions if c.last_transition_time), default=None
    )
    at = at or pod.status.start_time
    evidence = seen_object(pod.ref, "status.message", f"Evicted: {said.strip()}")
    used = {name: quantity(size) or 0.0 for name, size, _ in _USED.findall(said)}
    for kind, pattern in _LIMITS:
        found = pattern.search(said)
        if found and kind == "volume" and _in_memory(pod, found[1]):
            return None
        if found:
            return DiskTrouble(
                pod=pod,
                kind=kind,
                at=at,
                evidence=evidence,
                used_bytes=used,
                name=found[1],
                limit_bytes=quantity(found[2]) or 0.0,
            )
    if not _NODE.search(said):
        return None
    return DiskTrouble(pod=pod, kind="node", at=at, evidence=evidence, used_bytes=used)


def _full(cluster: Snapshot, one: Download) -> DiskTrouble | None:
    """The disk that a download found full; those of a cache, and those in memory, are other matters."""
    said = one.log.first(FULL) if one.log else None
    if one.log is None or said is None or cache_of(cluster, one.pod):
        return None
    path = _PATH.search(said[0].text)
    volume = _volume_at(one.pod, one.container, path[1] if path else "")
    claim = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
    if (volume.get("emptyDir") or {}).get("medium") == "Memory" or (path and path[1].startswith("/dev/")):
        return None
    line = seen_log(one.pod.ref, one.container.name, said[0].number, said[0].text)
    size = cluster.get("PersistentVolumeClaim", one.pod.namespace, str(claim))
    asked = size.value("spec.resources.requests.storage") if size else None
    return DiskTrouble(
        pod=one.pod,
        kind="claim" if claim else "full",
        at=one.end.finished_at if one.end else None,
        evidence=line,
        used_bytes={},
        name=str(claim),
        limit_bytes=(quantity(asked) if isinstance(asked, str) else 0.0) or 0.0,
    )


def _volume_at(pod: Pod, container: Container, path: str) -> dict[str, Any]:
    """The volume that holds a path; without a path, the only claim of the container."""
    volumes = {str(v.get("name")): v for v in pod.spec.volumes}
    mounts = sorted(container.volume_mounts, key=lambda m: -len(m.mount_path))
    if path:
        return next((volumes.get(m.name, {}) for m in mounts if path.startswith(m.mount_path)), {})
    claims = [v for m in mounts if "persistentVolumeClaim" in (v := volumes.get(m.name, {}))]
    return claims[0] if len(claims) == 1 else {}


def _in_memory(pod: Pod, volume: str) -> bool:
    found = next((v for v in pod.spec.volumes if v.get("name") == volume), {})
    return bool((found.get("emptyDir") or {}).get("medium") == "Memory")


def on_own_disk(pod: Pod) -> bool:
    """Whether a pod keeps its model on the node's disk: it mounts no claim and no volume of another kind."""
    lasting = ("persistentVolumeClaim", "hostPath", "nfs", "csi", "image", "ephemeral")
    return not any(kind in volume for volume in pod.spec.volumes for kind in lasting)


def weights_bytes(cluster: Snapshot, pod: Pod) -> float:
    """What a pod's model takes on disk by its name; 0 when the name does not say."""
    server = cluster.server_of(pod)
    name = uri_of(cluster, pod).partition("://")[2] or (model_of(cluster, server) if server else "")
    weights = weights_of(name)
    return weights.high_bytes if weights else 0.0
