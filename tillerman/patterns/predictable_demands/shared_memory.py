"""How large a container's /dev/shm is, and the edits that enlarge it in an owner's pod templates."""

from collections.abc import Iterable
from typing import Any

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import Pod
from tillerman.cluster.places import Place
from tillerman.cluster.quantity import GIB, MIB, quantity
from tillerman.cluster.snapshot import Snapshot

MOUNT = "/dev/shm"  # noqa: S108 - the path is looked up in manifests, nothing is written there
#: What the container runtime mounts at /dev/shm where a pod says nothing. Source: containerd and CRI-O.
DEFAULT_BYTES = 64 * MIB
#: GPUs of one pod up to which the smaller size does, and both sizes: NCCL keeps about 32 MiB for each pair of
#: GPUs and channel, vLLM a ring of messages for each worker. Source: llm-d/llm-d#352, vLLM documentation.
FEW_GPUS = 4
FEW_BYTES, MANY_BYTES = 8 * GIB, 16 * GIB


def shared_memory_of(pod: Pod, container: str) -> float | None:
    """The bytes of a container's /dev/shm; None when nothing but the node's memory bounds it."""
    volume = _volume(pod, container)
    if pod.spec.host_ipc:
        return None
    if volume is None:
        return float(DEFAULT_BYTES)
    return quantity((volume.get("emptyDir") or {}).get("sizeLimit"))


def enough_for(gpus: int) -> int:
    """The bytes of /dev/shm that do for an engine on this many GPUs of one pod."""
    return FEW_BYTES if gpus <= FEW_GPUS else MANY_BYTES


def enlarged(cluster: Snapshot, pods: Iterable[tuple[Pod, str]], size: str, why: str) -> Change | None:
    """The change that gives containers a /dev/shm of a size, in every template of their owner."""
    edits: dict[str, Edit] = {}
    target = None
    for pod, container in pods:
        place = cluster.place_of(pod, container)
        if place is None or (target and place.target.ref != target):
            continue
        target = place.target.ref
        for edit in _edits(place, pod, container, size):
            edits.setdefault(edit.path, edit)
    return Change(target=target, edits=tuple(edits.values()), why=why) if target and edits else None


def _edits(place: Place, pod: Pod, container: str, size: str) -> list[Edit]:
    """The volume, and its mount where there is none yet."""
    mounted = _volume(pod, container)
    name = str(mounted["name"]) if mounted else "dshm"
    volume = {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}
    edits = [_with(place, f"{place.pod}.volumes", volume)]
    if mounted is None:
        mount = {"name": name, "mountPath": MOUNT}
        listing, _, _ = place.container.rpartition("[")
        if place.exists:
            edits.append(_with(place, f"{place.container}.volumeMounts", mount))
        else:
            edits.append(_with(place, listing, {"name": container, "volumeMounts": [mount]}))
    return edits


def _with(place: Place, path: str, entry: dict[str, Any]) -> Edit:
    """A named list with an entry added, or replaced where one of that name is there."""
    before = place.target.value(path)
    have = before if isinstance(before, list) else []
    kept = [item for item in have if not (isinstance(item, dict) and item.get("name") == entry["name"])]
    return Edit(path=path, before=before if isinstance(before, list) else ABSENT, after=[*kept, entry])


def _volume(pod: Pod, container: str) -> dict[str, Any] | None:
    """The volume mounted at /dev/shm, or None."""
    found = pod.container(container)
    mount = (
        next((m for m in found.volume_mounts if m.mount_path.rstrip("/") == MOUNT), None) if found else None
    )
    return next((v for v in pod.spec.volumes if mount and v.get("name") == mount.name), None)
