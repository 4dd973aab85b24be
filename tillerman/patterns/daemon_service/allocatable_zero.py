"""A node has GPUs, but the kubelet hands out none: its device plugin is down, or found no devices.

What happens
The kubelet offers only what the device plugin registered and called healthy. When that pod cannot start or
finds no driver, the node's GPUs vanish from `allocatable`. The node stays Ready, pods that run there keep
their GPUs, new ones go nowhere.

How it shows
`allocatable` of a GPU resource 0 or missing where capacity or the GPU labels count some; the device plugin's
pod on that node missing, crash-looping or stuck in an init container; `Insufficient nvidia.com/gpu` for pods
that would fit.

When we stay silent
The node is not Ready, cordoned, or younger than a usual node start; only some of its GPUs are missing
(unhealthy devices are another fault); the GPUs are offered under another resource name (MIG, shared, DRA).

What we propose
The device plugin's configuration where it names one that does not exist; else advice: the driver, the
runtime, the pod.

Sources
NVIDIA/k8s-device-plugin#58, #102, #285, #585; device plugin 0.20 and its config-manager.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Node, Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, Severity, seen_event, seen_log, seen_object

#: Drivers compile and plugins register within this time on a new node. Source: GPU operator documentation,
#: "about 10 minutes".
JOINING_S = 900


@dataclass(frozen=True, kw_only=True)
class AllocatableZero(Fault):
    """Nodes whose GPUs are all gone, by the part of the stack that lost them."""

    layer = Layer.GPU_STACK

    nodes: tuple[str, ...]
    gpus: int
    waiting: int
    plugin: Pod | None
    said: str
    config: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Nodes without allocatable GPUs, grouped by the object that has to change."""
        groups: dict[Ref, list[Node]] = {}
        for node in cluster.gpu_nodes:
            if _lost(cluster, node):
                plugin = cluster.stack_pod_on("device-plugin", node)
                ill = plugin is not None and cluster.trouble(plugin) is not None
                subject = cluster.owner_of(plugin) if plugin and ill else node.ref
                if subject.key not in cluster.whatif or _wrong_config(cluster, node):
                    groups.setdefault(subject, []).append(node)
        for subject, nodes in groups.items():
            yield cls._of(cluster, subject, nodes)

    @classmethod
    def _of(cls, cluster: Snapshot, subject: Ref, nodes: list[Node]) -> Self:
        plugin = cluster.stack_pod_on("device-plugin", nodes[0])
        waiting = [pod for pod in cluster.waiting_for(nodes) if not cluster.fits(pod.spec)]
        said, evidence = _plugin_said(cluster, plugin)
        severity: Severity = "warning"
        if any(not any(p.ready for p in cluster.pods_of(cluster.owner_of(pod))) for pod in waiting):
            severity = "critical"
        return cls(
            subject=subject,
            severity=severity,
            evidence=(*(_counts(cluster, node) for node in nodes[:4]), *evidence),
            hurts=(
                *(node.ref for node in nodes),
                *((plugin.ref,) if plugin else ()),
                *dict.fromkeys(ref for pod in waiting for ref in (pod.ref, cluster.owner_of(pod))),
            ),
            nodes=tuple(node.name for node in nodes),
            gpus=sum(sum(cluster.gpus_in(node).values()) for node in nodes),
            waiting=len(waiting),
            plugin=plugin,
            said=said,
            config=_wrong_config(cluster, nodes[0]) or "",
        )

    def summary(self) -> str:
        """How many GPUs on which nodes, and what the plugin says."""
        where = self.nodes[0] if len(self.nodes) == 1 else f"{len(self.nodes)} nodes"
        said = f": the device plugin says `{self.said}`" if self.said else ""
        waits = f"; {self.waiting} pod{'s wait' if self.waiting > 1 else ' waits'} for them" if self.waiting else ""
        return f"{self.gpus} GPUs of {where} are not allocatable{said}{waits}"

    def explain(self) -> list[str]:
        """From the plugin to the pods."""
        first = "the device plugin on the node is not running" if self.plugin else "no device plugin runs on the node"
        if self.config:
            first = f"the device plugin is told to use the configuration `{self.config}`, which does not exist"
        return [
            first,
            "the kubelet therefore offers none of the node's GPUs, while its labels still count them",
            f"{self.waiting} Pending pods would fit if they were offered" if self.waiting else "no pod waits for them yet",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The one configuration that shares no GPU, where the named one does not exist.

        With several, a person chooses.
        """
        policy = cluster.object_at(self.subject)
        if not self.config or policy is None or policy.kind != "ClusterPolicy":
            return []
        existing = _configs(cluster, policy)
        whole = sorted(key for key, text in existing.items() if "replicas" not in text)
        if len(whole) != 1:
            return []
        best = whole[0]
        path = "spec.devicePlugin.config.default"
        why = f"`{self.config}` is not in the config map, which has {', '.join(f'`{k}`' for k in sorted(existing))}"
        return [Change(target=policy.ref, edits=(Edit(path=path, before=policy.value(path), after=best),), why=why)]

    def advice(self) -> list[str]:
        """Where to look on the node."""
        if self.config:
            return ["check that this configuration is the sharing you want for these nodes before approving"]
        node = self.nodes[0]
        found = [f"`kubectl get node {node} -o jsonpath='{{.status.allocatable}}'` shows what the kubelet offers"]
        if self.plugin:
            ref = self.plugin.ref
            found.append(f"`kubectl -n {ref.namespace} logs {ref.name} --all-containers` shows why it finds no device")
        found.append("with a broken driver or toolkit repair that first; with a healthy one delete the plugin's pod")
        return found


def _lost(cluster: Snapshot, node: Node) -> bool:
    """Whether all GPUs of a working node are missing from what the kubelet offers."""
    old = cluster.standing_s(node) >= JOINING_S
    offered = any(cluster.allocatable_gpus(node).values())
    slices = any(s.text("spec.nodeName") == node.name for s in cluster.all("ResourceSlice"))
    return node.ready and not node.spec.unschedulable and old and not offered and not slices


def _counts(cluster: Snapshot, node: Node) -> Evidence:
    have, offered = cluster.gpus_in(node), cluster.allocatable_gpus(node)
    return seen_object(node.ref, "status.allocatable", f"{offered or 'no GPU resource'} of {have}")


def _plugin_said(cluster: Snapshot, plugin: Pod | None) -> tuple[str, tuple[Evidence, ...]]:
    trouble = cluster.trouble(plugin) if plugin else None
    if plugin is None or trouble is None:
        return "", ()
    log = cluster.last_words(plugin, trouble.container) if trouble.container else None
    telling = log.telling if log else None
    warning = next((e for e in reversed(cluster.events_about(plugin.ref)) if e.type == "Warning"), None)
    state = f"{trouble.kind} in {trouble.container or 'pod'}"
    evidence = [seen_object(plugin.ref, "status", state)]
    if telling:
        evidence.append(seen_log(plugin.ref, trouble.container, telling.number, telling.text))
    if warning:
        evidence.append(seen_event(plugin.ref, warning))
    return (telling.text[-160:] if telling else warning.text[:160] if warning else state), tuple(evidence)


def _wrong_config(cluster: Snapshot, node: Node) -> str | None:
    """The plugin configuration that a node is told to use and that its config map does not have."""
    for policy in cluster.all("ClusterPolicy"):
        name = node.labels.get("nvidia.com/device-plugin.config") or policy.text("spec.devicePlugin.config.default")
        keys = _configs(cluster, policy)
        if name and keys and name not in keys:
            return name
    return None


def _configs(cluster: Snapshot, policy: Object) -> dict[str, str]:
    """The device plugin configurations that a cluster policy's config map holds, by name."""
    wanted = policy.text("spec.devicePlugin.config.name")
    maps = [m for m in cluster.all("ConfigMap") if m.name == wanted]
    return {key: str(text) for one in maps for key, text in one.table("data").items()}
