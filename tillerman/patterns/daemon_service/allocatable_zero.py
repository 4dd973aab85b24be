"""A node has GPUs, but the kubelet hands out none: its device plugin is down, or found no devices.

What happens
The kubelet offers only what the device plugin registered and called healthy. When that pod cannot start or
finds no driver, the node's GPUs vanish from `allocatable`, later from `capacity`. The node stays Ready, pods
that run there keep their GPUs, new ones go nowhere.

How it shows
`allocatable` of a GPU resource 0 or missing where capacity or labels speak of GPUs; the plugin's pod on that
node missing, crash-looping or waiting in an init container for a driver or toolkit pod that fails;
`Insufficient nvidia.com/gpu` for pods that would fit.

When we stay silent
The node is not Ready, cordoned or in a driver upgrade; it is younger than a usual node start (then it is
only noted); it is kept without a plugin on purpose; only some of its GPUs are missing (unhealthy devices are
another fault); the GPUs are offered under another resource name (MIG, shared, DRA); the node has no labels
of feature discovery at all (then that is down).

What we propose
The device plugin's configuration where it names one that does not exist; a toleration, a label, the runtime
class where that keeps a part from running; else advice: the driver, the runtime, the pod.

Sources
NVIDIA/k8s-device-plugin#58, #102, #285, #585; device plugin 0.20 and its config-manager; GPU operator 26.7.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.gpustack import Role
from tillerman.cluster.model import Node, Pod, Ref
from tillerman.cluster.placement import gpus_of, is_gpu_resource
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.daemon_service.parts import JOINING_S, Defect, defect_on
from tillerman.patterns.daemon_service.plugin_config import LABEL, WrongConfig, wrong_config
from tillerman.patterns.daemon_service.repairs import repair
from tillerman.patterns.fault import Evidence, Fault, Layer, Severity, outage, seen_log, seen_object

#: What has to work on a node before its GPUs are offered, in order.
_CHAIN: tuple[Role, ...] = ("driver", "toolkit", "device-plugin")
_STACK: tuple[Role, ...] = (*_CHAIN, "validator", "gpu-feature-discovery", "mig-manager", "dcgm-exporter")
#: What a plugin says that waits for devices to appear. Source: device plugin 0.20.
_FOUND_NONE = r"No devices found|non-NVML platform|could not load NVML|Incompatible strategy"
_PRESENT = "nvidia.com/gpu.present"
#: Labels by which people keep the plugin away from a node, or the operator while it works on it.
_KEPT_OFF = {
    "nvidia.com/gpu.deploy.device-plugin": ("false", "paused"),
    "nvidia.com/gpu.deploy.operands": ("false",),
    "nvidia.com/gpu.workload.config": ("vm-",),
    "nvidia.com/gpu-driver-upgrade-state": (
        "cordon",
        "drain",
        "pod",
        "wait",
        "valid",
        "uncordon",
        "upgrade-req",
    ),
}


@dataclass(frozen=True, kw_only=True)
class AllocatableZero(Fault):
    """Nodes whose GPUs are all gone, by what a person has to change; `defect` is the part that lost them."""

    layer = Layer.GPU_STACK

    nodes: tuple[Node, ...]
    gpus: int
    waiting: tuple[Pod, ...]
    defect: Defect | None
    config: WrongConfig | None
    idle: bool

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Nodes without allocatable GPUs, grouped by the object that has to change."""
        groups: dict[Ref, tuple[Defect | None, list[Node]]] = {}
        lost = [node for node in cluster.nodes if _lost(cluster, node)]
        for node in lost:
            defect, config = _defect(cluster, node), wrong_config(cluster, node)
            if defect or config or not _repaired(cluster):
                first = node if cluster.stack("device-plugin") else lost[0]
                subject = _blamed(cluster, first, defect, config)
                groups.setdefault(subject, (defect, []))[1].append(node)
        for subject, (defect, nodes) in groups.items():
            yield cls._of(cluster, subject, defect, nodes)

    @classmethod
    def _of(cls, cluster: Snapshot, subject: Ref, defect: Defect | None, nodes: list[Node]) -> Self:
        waiting = _waiting(cluster, nodes)
        owners = dict.fromkeys(cluster.owner_of(pod) for pod in waiting)
        severity: Severity = "info" if all(_joining(cluster, node) for node in nodes) else "warning"
        if severity == "warning" and any(outage(cluster, owner) == "critical" for owner in owners):
            severity = "critical"
        plugin = cluster.stack_pod_on("device-plugin", nodes[0])
        parts = [pod for node in nodes for role in _STACK if (pod := cluster.stack_pod_on(role, node))]
        return cls(
            subject=subject,
            severity=severity,
            evidence=(
                *(_counts(cluster, node) for node in nodes[:4]),
                *(defect.evidence if defect else _idle(cluster, plugin)),
            ),
            hurts=(
                *(node.ref for node in nodes),
                *(part.ref for part in parts if not part.ready),
                *(pod.ref for pod in waiting),
                *owners,
            ),
            nodes=tuple(nodes),
            gpus=sum(sum(cluster.gpus_in(node).values()) for node in nodes),
            waiting=waiting,
            defect=defect,
            config=wrong_config(cluster, nodes[0]),
            idle=plugin is not None and plugin.ready,
        )

    def summary(self) -> str:
        """How many GPUs on which nodes, and what is said about it."""
        where = self.nodes[0].name if len(self.nodes) == 1 else counted(len(self.nodes), "node")
        gpus = counted(self.gpus, "GPU") if self.gpus else "the GPUs"
        idle = "the device plugin runs there and offers none" if self.idle else "no device plugin runs there"
        said = f": {self.defect or idle}"
        waits = f"; {counted(len(self.waiting), 'pod')} waiting for them" if self.waiting else ""
        return f"{gpus} of {where} not allocatable{said}{waits}"

    def explain(self) -> list[str]:
        """From the plugin to the pods."""
        first = (
            str(self.defect) if self.defect else "no working device plugin has registered with the kubelet"
        )
        if self.config:
            first = f"the device plugin is told to use a configuration that does not exist: {self.config}"
        waits = f"{counted(len(self.waiting), 'Pending pod')} would fit if they were offered"
        return [
            first,
            "the kubelet therefore offers none of the node's GPUs, while the node is Ready",
            waits if self.waiting else "no pod waits for them yet",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A configuration that exists, or what lets the part run."""
        if self.config:
            return self.config.correct()
        return repair(cluster, self.defect) if self.defect else []

    def advice(self) -> list[str]:
        """Where to look on the node."""
        node = self.nodes[0].name
        if self.config and self.config.by_label:
            return [f"`kubectl label node {node} {LABEL}=NAME --overwrite` with one of the names above"]
        if self.config:
            return ["check that this configuration is the sharing you want for these nodes before approving"]
        found = [f"`kubectl get node {node} -o jsonpath='{{.status.allocatable}}'` shows what is offered"]
        if self.defect and self.defect.pod:
            ref = self.defect.pod.ref
            found.append(f"`kubectl -n {ref.namespace} logs {ref.name} --all-containers` shows why it fails")
        return [
            *found,
            "repair a broken driver or toolkit first; then delete the device plugin's pod on the node",
        ]


def _lost(cluster: Snapshot, node: Node) -> bool:
    """Whether all GPUs of a working node are missing from what the kubelet offers."""
    if not node.ready or node.spec.unschedulable or any(cluster.allocatable_gpus(node).values()):
        return False
    if any(node.labels.get(key, "").startswith(values) for key, values in _KEPT_OFF.items()):
        return False
    plugin = cluster.stack_pod_on("device-plugin", node)
    known = cluster.gpus_in(node) or node.labels.get(_PRESENT) == "true" or (plugin and not plugin.ready)
    slices = any(s.text("spec.nodeName") == node.name for s in cluster.all("ResourceSlice"))
    return bool(known) and cluster.looks_like_gpu(node) and not slices and not _undiscovered(cluster, node)


def _joining(cluster: Snapshot, node: Node) -> bool:
    """Whether a node is so new that its driver and plugin may still be starting."""
    return cluster.standing_s(node) < JOINING_S


def _undiscovered(cluster: Snapshot, node: Node) -> bool:
    """Whether feature discovery is installed and silent about a node: then the plugin is not the cause."""
    if cluster.stack_pod_on("device-plugin", node) or not cluster.stack("nfd-worker"):
        return False
    return not any(key.startswith("feature.node.kubernetes.io/") for key in node.labels)


def _defect(cluster: Snapshot, node: Node) -> Defect | None:
    """The first part of the chain that fails on a node, or the plugin that is kept from it."""
    for role in _CHAIN:
        found = [defect_on(cluster, workload, node) for workload in cluster.stack(role)]
        if role == "device-plugin" and found and all(found):
            return found[0]
        failing = next((defect for defect in found if defect and defect.kind == "failing"), None)
        if failing:
            return failing
    return None


def _blamed(cluster: Snapshot, node: Node, defect: Defect | None, config: WrongConfig | None) -> Ref:
    """What a person changes: the part that fails, the policy, or the node where only that can be said."""
    if _joining(cluster, node) or (config and config.by_label):
        return node.ref
    if defect:
        return defect.owner
    policies = [] if cluster.stack("device-plugin") else cluster.all("ClusterPolicy")
    return policies[0].ref if policies else config.policy.ref if config else node.ref


def _repaired(cluster: Snapshot) -> bool:
    """In a what-if: whether it changes a part of the chain, and so may bring the GPUs back."""
    owners = (cluster.owner_of(workload) for role in _CHAIN for workload in cluster.stack(role))
    return any(owner.key in cluster.whatif for owner in owners)


def _counts(cluster: Snapshot, node: Node) -> Evidence:
    have, offered = cluster.gpus_in(node), cluster.allocatable_gpus(node)
    return seen_object(
        node.ref, "status.allocatable", f"{offered or 'no GPU resource'} of {have or 'unknown'}"
    )


def _idle(cluster: Snapshot, plugin: Pod | None) -> tuple[Evidence, ...]:
    """What a plugin says that runs and offers nothing."""
    containers = plugin.spec.containers if plugin else ()
    for container in containers:
        log = cluster.log(plugin, container.name) if plugin else None
        found = log.last(_FOUND_NONE) if log else None
        if found and plugin:
            return (seen_log(plugin.ref, container.name, found[0].number, found[0].text),)
    return ()


def _waiting(cluster: Snapshot, nodes: list[Node]) -> tuple[Pod, ...]:
    """The Pending pods that would fit on one of these nodes if its GPUs were offered, and labelled."""
    bare = [node for node in nodes if not cluster.gpus_in(node)]
    fit = cluster.waiting_for(nodes)
    could = (
        pod
        for pod, _ in cluster.troubled_as("unschedulable")
        if pod not in fit and any(_could_use(cluster, pod, node) for node in bare)
    )
    return tuple(pod for pod in (*fit, *could) if not cluster.fits(pod.spec))


def _could_use(cluster: Snapshot, pod: Pod, node: Node) -> bool:
    """Whether only GPUs, and the labels that feature discovery writes for them, keep a pod from a node."""
    place = cluster.obstacles(pod.spec, node)
    only_labels = all(label.startswith("nvidia.com/") for label in place.labels)
    only_gpus = bool(gpus_of(pod.spec)) and all(is_gpu_resource(name) for name in place.short)
    return only_labels and only_gpus and not place.taints
