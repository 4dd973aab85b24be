"""GPU nodes carry no GPU labels, because node feature discovery or GPU feature discovery does not work.

What happens
NFD's workers look at the hardware and its master writes `feature.node.kubernetes.io/...` labels; GFD adds
`nvidia.com/gpu....`. DaemonSets of the stack and model servers select nodes by these. When a part of the
chain is down, labels that exist stay, and nodes that join get none: plugin and servers never go there.

How it shows
GPU nodes (by taint, machine type or capacity) without the labels; a part Pending, failing, scaled to zero,
or not on those nodes at all; every DaemonSet reports desired = ready, for the nodes are not selected.

When we stay silent
The node is younger than a usual node start, not Ready or cordoned; the part is not installed; it works
there; the node has no device plugin either, although its labels are there (that is another fault); its GPUs
are of another maker.

What we propose
What lets the part run: a label that exists in the place of one that does not, a toleration, a replica,
memory, the runtime class; else advice.

Sources
NVIDIA/gpu-operator#149, #423, #429; NVIDIA/k8s-device-plugin#734; NVIDIA/gpu-feature-discovery#36, #70; NFD
0.19; GPU feature discovery 0.20.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.gpustack import MACHINE_TYPE, Role
from tillerman.cluster.model import Node, Pod, Ref
from tillerman.cluster.placement import gpus_of, is_gpu_resource, unmatched
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.daemon_service.parts import JOINING_S, Defect, defect_of, defect_on
from tillerman.patterns.daemon_service.repairs import repair
from tillerman.patterns.fault import Fault, Layer, Severity, outage, seen_object

NFD, GFD, DEPLOY = "feature.node.kubernetes.io/", "nvidia.com/gpu.", "nvidia.com/gpu.deploy."
#: The part that finds out about a node, and the one that writes its labels, by what the node lacks.
_PARTS: dict[str, tuple[Role | None, Role]] = {
    NFD: ("nfd-worker", "nfd-master"),
    DEPLOY: (None, "gpu-operator"),
    GFD: ("gpu-feature-discovery", "nfd-master"),
}
_ROLES: tuple[Role, ...] = ("nfd-master", "nfd-worker", "gpu-operator", "gpu-feature-discovery")
#: Labels that discovery writes: a pod that asks for one waits while it is down.
_DISCOVERED = (NFD, "nvidia.com/")


@dataclass(frozen=True, kw_only=True)
class GfdNfdDown(Fault):
    """A broken part of label discovery, the GPU nodes without its labels, and what waits for them."""

    layer = Layer.GPU_STACK

    defect: Defect
    nodes: tuple[Node, ...]
    waiting: tuple[Pod, ...]

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Parts of discovery that do not work, with the nodes that lack labels because of it."""
        found: dict[Ref, tuple[Defect, list[Node]]] = {}
        for node in cluster.nodes:
            defect = _defect(cluster, node) if _settled(cluster, node) else None
            if defect:
                found.setdefault(defect.owner, (defect, []))[1].append(node)
        for role in _ROLES:
            for defect in (defect_of(cluster, workload) for workload in cluster.stack(role)):
                if defect:
                    found.setdefault(defect.owner, (defect, []))
        for defect, bare in found.values():
            waiting = tuple(p for p, _ in cluster.troubled_as("unschedulable") if _would_go(cluster, p, bare))
            nodes = tuple(node for node in bare if _felt(cluster, node, waiting))
            if nodes or not bare:
                yield cls._of(cluster, defect, nodes, waiting)

    @classmethod
    def _of(
        cls, cluster: Snapshot, defect: Defect, nodes: tuple[Node, ...], waiting: tuple[Pod, ...]
    ) -> Self:
        owners = dict.fromkeys(cluster.owner_of(pod) for pod in waiting)
        ill = [pod for pod in cluster.pods_of(defect.workload.ref) if not pod.ready and not pod.finished]
        scalers = (scaler.ref for hurt in owners for scaler in cluster.scalers_of(hurt))
        severity: Severity = "warning"
        if any(outage(cluster, hurt) == "critical" for hurt in owners):
            severity = "critical"
        return cls(
            subject=defect.owner,
            severity=severity,
            evidence=(
                *defect.evidence,
                *(seen_object(node.ref, "metadata.labels", _none(cluster, node)) for node in nodes[:4]),
            ),
            hurts=(
                defect.owner,
                defect.workload.ref,
                *(pod.ref for pod in ill),
                *(node.ref for node in nodes),
                *(pod.ref for pod in waiting),
                *owners,
                *scalers,
            ),
            defect=defect,
            nodes=nodes,
            waiting=waiting,
        )

    def summary(self) -> str:
        """Which part, how many nodes, who waits."""
        count = counted(len(self.nodes), "GPU node") if self.nodes else "no GPU node"
        waits = f", {counted(len(self.waiting), 'pod')} waiting for them" if self.waiting else ""
        return f"node or GPU feature discovery is down, {count} without its labels{waits}: {self.defect}"

    def explain(self) -> list[str]:
        """From the part to the pods."""
        found = [str(self.defect)]
        if not self.nodes:
            return [*found, "nodes that have their labels keep them; a node that joins now gets none"]
        names = ", ".join(node.name for node in self.nodes[:4])
        found.append(f"so these GPU nodes carry no labels of node or GPU feature discovery: {names}")
        found.append("DaemonSets of the stack and pods that select GPU nodes by label do not see them")
        if self.waiting:
            found.append(f"{counted(len(self.waiting), 'Pending pod')} could run there")
        return found

    def propose(self, cluster: Snapshot) -> list[Change]:
        """What lets the part run."""
        return repair(cluster, self.defect)

    def advice(self) -> list[str]:
        """Where to look."""
        ref = self.defect.pod.ref if self.defect.pod else self.defect.workload.ref
        kind = "pod" if self.defect.pod else ref.kind.lower()
        return [
            f"`kubectl -n {ref.namespace} describe {kind} {ref.name}` says why it does not run",
            "`kubectl get nodes -L nvidia.com/gpu.product,nvidia.com/gpu.count` shows who has labels",
        ]


def _settled(cluster: Snapshot, node: Node) -> bool:
    """Whether a node is a GPU node that has been there long enough to have its labels."""
    old = cluster.standing_s(node) >= JOINING_S
    return old and node.ready and not node.spec.unschedulable and cluster.looks_like_gpu(node)


def _lacks(cluster: Snapshot, node: Node) -> str:
    """The labels, by prefix, that discovery should have given a node and has not; "" when it has them."""
    if cluster.stack("nfd-worker") and not any(key.startswith(NFD) for key in node.labels):
        return NFD
    if not _nvidia(cluster, node):
        return ""
    if cluster.all("ClusterPolicy") and not any(key.startswith(DEPLOY) for key in node.labels):
        return DEPLOY
    offered = any(cluster.allocatable_gpus(node).values())
    return GFD if offered and f"{GFD}product" not in node.labels else ""


def _nvidia(cluster: Snapshot, node: Node) -> bool:
    """Whether anything says that a node's GPUs are NVIDIA's: others have discovery of their own."""
    taints = (taint.key for taint in node.spec.taints)
    return any(
        "nvidia.com/" in name or "10de" in name for name in (*cluster.gpus_in(node), *node.labels, *taints)
    )


def _felt(cluster: Snapshot, node: Node, waiting: tuple[Pod, ...]) -> bool:
    """Whether the labels a node lacks make a difference: others have them, it offers no GPU, or pods wait."""
    lacks = _lacks(cluster, node)
    others = any(key.startswith(lacks) for other in cluster.gpu_nodes for key in other.labels)
    return bool(waiting) or others or not any(cluster.allocatable_gpus(node).values())


def _none(cluster: Snapshot, node: Node) -> str:
    return f"no {_lacks(cluster, node)}*"


def _defect(cluster: Snapshot, node: Node) -> Defect | None:
    """What keeps discovery from labelling a node: its part there, else the one that writes the labels."""
    lacks = _lacks(cluster, node)
    role, writer = _PARTS.get(lacks, (None, "nfd-master"))
    found = [defect_on(cluster, workload, node) for workload in cluster.stack(role)] if role else []
    if found and all(found):
        wanted = [label for defect in found if defect for label in defect.labels]
        return None if any(_switched_off(node, label) for label in wanted) else found[0]
    down = (defect_of(cluster, workload) for workload in cluster.stack(writer)) if lacks else ()
    return next((defect for defect in down if defect), None)


def _switched_off(node: Node, label: str) -> bool:
    """Whether a part is kept from a node on purpose: `nvidia.com/gpu.deploy....: false`, or paused."""
    value = node.labels.get(label.partition("=")[0], "")
    return value == "false" or value.startswith("paused")


def _would_go(cluster: Snapshot, pod: Pod, nodes: list[Node]) -> bool:
    """Whether a Pending pod could run on one of these nodes if that had the labels of its like."""
    return any(_takes(cluster, pod, node) for node in nodes)


def _takes(cluster: Snapshot, pod: Pod, node: Node) -> bool:
    place = cluster.obstacles(pod.spec, node)
    if place.taints or any(not is_gpu_resource(name) for name in place.short):
        return False
    machine = node.labels.get(MACHINE_TYPE)
    like = next((n for n in cluster.gpu_nodes if machine and n.labels.get(MACHINE_TYPE) == machine), None)
    if like and f"{GFD}product" in like.labels:
        labels = {k: v for k, v in like.labels.items() if k.startswith(_DISCOVERED)} | node.labels
        return bool(gpus_of(pod.spec)) and not unmatched(pod.spec, labels)
    return bool(place.labels) and all(label.startswith(_DISCOVERED) for label in place.labels)
