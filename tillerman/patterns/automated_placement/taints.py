"""Taints that keep pods away for good, and the tolerations that open nodes to them: shared by faults."""

from collections import Counter
from collections.abc import Iterable

from tillerman.cluster.model import Node, Pod, Taint
from tillerman.cluster.placement import gpus_of, untolerated
from tillerman.cluster.snapshot import Snapshot

#: Taints that say a node is in trouble, new or leaving: a pod may wait for such a node to come back.
PASSING = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "node.cilium.io/",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "karpenter.sh/",
    "nvidia.com/gpu-driver-upgrade",
)
#: Taints of nodes that nobody means to use.
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


def barrier(cluster: Snapshot, pod: Pod) -> tuple[tuple[Taint, ...], tuple[Node, ...]]:
    """The deliberate taints to tolerate, and the nodes that opens; nothing when a node has none of them."""
    asked = gpus_of(pod.spec)
    barred = [
        (node, deliberate(untolerated(pod.spec, node)))
        for node in cluster.matching(pod.spec)
        if not any(taint.key in CONTROL_PLANE for taint in untolerated(pod.spec, node))
        and all(cluster.allocatable_gpus(node).get(name, 0) >= count for name, count in asked.items())
    ]
    if not barred or not all(taints for _, taints in barred):
        return (), ()
    groups = Counter(taints for _, taints in barred)
    taints = min(groups, key=lambda one: _cost(one, groups))
    return taints, tuple(node for node, found in barred if set(found) <= set(taints))


def deliberate(taints: Iterable[Taint]) -> tuple[Taint, ...]:
    """The taints that keep pods away for good: not those of a node that is in trouble, new or leaving."""
    return tuple(taint for taint in taints if not taint.key.startswith(PASSING))


def _cost(taints: tuple[Taint, ...], groups: Counter[tuple[Taint, ...]]) -> tuple[int, int, int]:
    """GPU taints before others, few before many, those of many nodes before those of one."""
    others = sum(not taint.key.endswith("/gpu") for taint in taints)
    return others, len(taints), -sum(nodes for found, nodes in groups.items() if set(found) <= set(taints))


def toleration(taint: Taint) -> dict[str, str]:
    """A GPU taint by its key, whatever its value; a taint of other meaning by its value too."""
    if taint.key.endswith("/gpu") or not taint.value:
        return {"key": taint.key, "operator": "Exists", "effect": taint.effect}
    return {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}


def listed(taints: Iterable[Taint]) -> str:
    """Taints as kubectl writes them."""
    return ", ".join(f"`{t.key}{'=' + t.value if t.value else ''}:{t.effect}`" for t in taints)
