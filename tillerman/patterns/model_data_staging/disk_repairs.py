"""The edits that give a model enough disk: a request, a limit, a larger volume."""

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Pod
from tillerman.cluster.quantity import quantity, whole_gi
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.model_data_staging.disk_use import RESOURCE, DiskTrouble

_STORAGE = "spec.resources.requests.storage"


def asked(pod: Pod, container: str, block: str) -> float:
    """What a container asks for or may use of the node's disk; 0 when it does not say."""
    found = pod.container(container)
    resources = getattr(found.resources, block) if found else {}
    return quantity(resources.get(RESOURCE)) or 0.0


def provided(cluster: Snapshot, one: DiskTrouble, container: str, needed: float) -> bool:
    """Whether a what-if gave the pods what this one lacked."""
    if ("PersistentVolumeClaim", one.pod.namespace, one.name) in cluster.whatif:
        return True
    if one.pod.ref.key not in cluster.whatif:
        return False
    if one.kind == "volume":
        return _size_limit(one.pod, one.name) >= needed
    keeper = _keeper(one, container)
    return asked(one.pod, keeper, "limits" if one.kind in ("pod", "container") else "requests") >= needed


def repair(cluster: Snapshot, one: DiskTrouble, container: str, needed: float) -> Change | None:
    """The edit that gives a pod the disk it needs; None where no node or class of volume can."""
    wanted = whole_gi(needed)
    why = f"{wanted} hold what was used and a fifth more"
    if one.kind == "claim":
        return _larger_claim(cluster, one, wanted, why)
    if not needed or not _room(cluster, one.pod, needed):
        return None
    if one.kind == "volume":
        return _larger_volume(cluster, one, wanted, why)
    keeper = _keeper(one, container)
    if one.kind in ("node", "full"):
        return cluster.edit(one.pod, keeper, f"resources.requests.{RESOURCE}", wanted, why)
    fields = {f"limits.{RESOURCE}": wanted}
    if asked(one.pod, keeper, "requests"):
        fields[f"requests.{RESOURCE}"] = wanted
    return cluster.edit_each(one.pod, keeper, "resources", fields, why)


def _keeper(one: DiskTrouble, container: str) -> str:
    """The container whose resources count: what an init container wrote stays for the life of the pod."""
    pod = one.pod
    initial = any(c.name == container for c in pod.spec.init_containers)
    if one.kind == "container" or not initial or not pod.spec.containers:
        return container
    return pod.spec.containers[0].name


def _size_limit(pod: Pod, volume: str) -> float:
    found = next((v for v in pod.spec.volumes if v.get("name") == volume), {})
    return quantity((found.get("emptyDir") or {}).get("sizeLimit")) or 0.0


def _room(cluster: Snapshot, pod: Pod, needed: float) -> bool:
    """Whether a node that this pod may run on has so much disk to give; unknown counts as yes."""
    sizes = [quantity(node.status.allocatable.get(RESOURCE)) for node in cluster.eligible(pod.spec)]
    known = [size for size in sizes if size]
    return not known or max(known) >= needed


def _larger_volume(cluster: Snapshot, one: DiskTrouble, wanted: str, why: str) -> Change | None:
    place = cluster.place_of(one.pod, one.pod.spec.containers[0].name) if one.pod.spec.containers else None
    for at, item in enumerate(place.target.items(f"{place.pod}.volumes") if place else ()):
        if isinstance(item, dict) and item.get("name") == one.name:
            return cluster.edit_pod(one.pod, f"volumes[{at}].emptyDir.sizeLimit", wanted, why)
    return None


def _larger_claim(cluster: Snapshot, one: DiskTrouble, wanted: str, why: str) -> Change | None:
    """A larger claim, where its storage class lets volumes grow."""
    claim = cluster.get("PersistentVolumeClaim", one.pod.namespace, one.name)
    kind = cluster.get("StorageClass", "", claim.text("spec.storageClassName")) if claim else None
    if claim is None or kind is None or kind.value("allowVolumeExpansion") is not True:
        return None
    edit = Edit(path=_STORAGE, before=claim.value(_STORAGE), after=wanted)
    return Change(target=claim.ref, edits=(edit,), why=why)
