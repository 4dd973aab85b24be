"""The change that lets a part of the GPU stack run where it does not, on the object that a person edits."""

from typing import Any

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.life import last_end
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.quantity import quantity
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.labels import drop, near, relabel, unmet
from tillerman.patterns.automated_placement.taints import barrier, listed, toleration
from tillerman.patterns.daemon_service.parts import TOLERATIONS, Defect

MIB = 1024**2
SPEC = "spec.template.spec"
#: What a part prints when its container was started without the NVIDIA runtime, or the driver is not there.
NO_NVML = r"(?i)could not load NVML|Failed to initialize NVML|ERROR_LIBRARY_NOT_FOUND|libnvidia-ml\.so\.1"


def repair(cluster: Snapshot, defect: Defect) -> list[Change]:
    """The fewest edits that take a defect away; none where only a person can."""
    if defect.kind == "tainted":
        return _tolerate(cluster, defect)
    if defect.kind == "unlabelled":
        return _unselect(cluster, defect)
    if defect.kind == "scaled-to-zero" and defect.owner == defect.workload.ref:
        return [_change(cluster, defect.owner, "spec.replicas", 1, f"{defect}, and its work is needed")]
    if defect.pod is None:
        return []
    found = _admit(cluster, defect.pod) if defect.kind == "unscheduled" else _run(cluster, defect, defect.pod)
    return [found] if found else []


def _change(cluster: Snapshot, ref: Ref, path: str, after: Any, why: str) -> Change:
    target = cluster.object_at(ref)
    before = target.value(path) if target else ABSENT
    return Change(target=ref, edits=(Edit(path=path, before=before, after=after),), why=why)


def _tolerate(cluster: Snapshot, defect: Defect) -> list[Change]:
    """The tolerations that a part lacks, in its operator's object or its own."""
    path = TOLERATIONS.get(defect.owner.kind, f"{SPEC}.tolerations")
    target = cluster.object_at(defect.owner)
    if target is None or (defect.owner != defect.workload.ref and target.kind not in TOLERATIONS):
        return []
    after = [*target.items(path), *(toleration(taint) for taint in defect.taints)]
    return [
        _change(cluster, target.ref, path, after, f"the nodes without it are tainted {listed(defect.taints)}")
    ]


def _unselect(cluster: Snapshot, defect: Defect) -> list[Change]:
    """The entries of a node selector that keep a part away, taken out."""
    selector = defect.workload.table(f"{SPEC}.nodeSelector")
    wrong = [key for key, value in selector.items() if f"{key}={value}" in defect.labels]
    if defect.owner != defect.workload.ref or not wrong:
        return []
    why = f"{defect}, which the nodes without it do not carry"
    kept = {key: value for key, value in selector.items() if key not in wrong}
    path = f"{SPEC}.nodeSelector"
    return [
        Change(target=defect.owner, edits=(Edit(path=path, before=selector, after=kept or ABSENT),), why=why)
    ]


def _admit(cluster: Snapshot, pod: Pod) -> Change | None:
    """What lets a Pending pod of a part find a node: another label, one less, or a toleration."""
    want = unmet(cluster, pod)
    if want is None:
        taints, _ = barrier(cluster, pod)
        place = cluster.place_of(pod, pod.spec.containers[0].name) if taints else None
        if place is None:
            return None
        after = [*place.target.items(f"{place.pod}.tolerations"), *(toleration(taint) for taint in taints)]
        return cluster.edit_pod(
            pod, "tolerations", after, f"the nodes it may use are tainted {listed(taints)}"
        )
    open_nodes = [node for node in cluster.nodes if node.ready and not node.spec.taints]
    label = near(want, open_nodes)
    if label[1]:
        return relabel(
            cluster, pod, want, label, f"no node carries `{want}`; nodes carry `{'='.join(label)}`"
        )
    return drop(cluster, pod, want, f"no node carries `{want}`")


def _run(cluster: Snapshot, defect: Defect, pod: Pod) -> Change | None:
    """What lets a failing pod of a part run: more memory after OOMKilled, the runtime class of its peers."""
    trouble = cluster.trouble(pod)
    container = pod.container(trouble.container) if trouble else None
    end = last_end(trouble.status) if trouble and trouble.status else None
    if container is None:
        return None
    limit = quantity(container.resources.limits.get("memory"))
    if end and end.reason == "OOMKilled" and limit:
        after = f"{-(-int(limit * 2) // MIB)}Mi"
        return cluster.edit(pod, container.name, "resources.limits.memory", after, "OOMKilled at its limit")
    log = cluster.last_words(pod, container.name)
    if log and log.first(NO_NVML) and not pod.spec.runtime_class_name:
        peers = [p for p in cluster.pods_on(pod.spec.node_name) if p.ready and p.spec.runtime_class_name]
        names = {peer.spec.runtime_class_name for peer in peers}
        why = f"{defect.workload.name} runs without the runtime class of its peers on the node"
        return cluster.edit_pod(pod, "runtimeClassName", names.pop(), why) if len(names) == 1 else None
    return None
