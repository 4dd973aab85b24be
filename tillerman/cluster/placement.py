"""Where a pod could run: free GPUs, and why each node would not take it, as the scheduler decides.

Source: the default plugins of kube-scheduler 1.37 (NodeUnschedulable, TaintToleration, NodeAffinity,
NodeResourcesFit). Not judged: volumes' topology, spread constraints, pod affinity, ports, DRA claims; the
scheduler's own message says those.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import msgspec

from tillerman.cluster.life import is_sidecar
from tillerman.cluster.model import Container, Node, Pod, PodSpec, Resources, Taint, Toleration
from tillerman.cluster.observations import Observations
from tillerman.cluster.quantity import quantity

GPU = "nvidia.com/gpu"

_GPU_RESOURCE = re.compile(r"^(?:[\w.-]+/(?:gpu|gaudi|gpu\.shared)$|nvidia\.com/mig-|gpu\.intel\.com/)")


@cache
def is_gpu_resource(name: str) -> bool:
    """Whether an extended resource counts accelerators (`nvidia.com/gpu`, MIG slices, AMD, Intel)."""
    return bool(_GPU_RESOURCE.match(name))


def requests_of(spec: PodSpec) -> dict[str, float]:
    """What a pod asks of a node.

    Containers and sidecars together, or its largest init container. Source: KEP-753.
    """
    total: dict[str, float] = {}
    peak: dict[str, float] = {}
    for container in spec.init_containers:
        asked = _asked(container)
        if is_sidecar(container):
            _add(total, asked)
        else:
            _raise(peak, {name: value + total.get(name, 0.0) for name, value in asked.items()})
    for container in spec.containers:
        _add(total, _asked(container))
    _raise(total, peak)
    return total


def gpus_of(spec: PodSpec) -> dict[str, int]:
    """The accelerators a pod asks for, by resource name; empty when none."""
    return {name: int(value) for name, value in requests_of(spec).items() if is_gpu_resource(name) and value}


def _asked(container: Container) -> dict[str, float]:
    limits, requests = container.resources.limits, container.resources.requests
    names = dict.fromkeys((*requests, *limits))
    return {name: quantity(requests.get(name, limits.get(name))) or 0.0 for name in names}


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0.0) + value


def _raise(total: dict[str, float], floor: Mapping[str, float]) -> None:
    for name, value in floor.items():
        total[name] = max(total.get(name, 0.0), value)


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Whether any toleration covers a taint."""
    return any(
        (not t.effect or t.effect == taint.effect)
        and (not t.key or t.key == taint.key)
        and (t.operator == "Exists" or (t.key == taint.key and t.value == taint.value))
        for t in tolerations
    )


def untolerated(spec: PodSpec, node: Node) -> tuple[Taint, ...]:
    """The node's taints that keep this pod away."""
    hard = (t for t in node.spec.taints if t.effect in ("NoSchedule", "NoExecute"))
    return tuple(t for t in hard if not tolerates(spec.tolerations, t))


def _expression_holds(labels: Mapping[str, str], expression: dict[str, Any]) -> bool:
    key, operator = str(expression.get("key", "")), expression.get("operator", "")
    values = [str(value) for value in expression.get("values") or ()]
    found = labels.get(key)
    if operator in ("Gt", "Lt"):
        have, want = quantity(found), quantity(values[0] if values else None)
        return have is not None and want is not None and (have > want if operator == "Gt" else have < want)
    return {
        "In": found is not None and found in values,
        "NotIn": found is None or found not in values,
        "Exists": found is not None,
        "DoesNotExist": found is None,
    }.get(str(operator), False)


def required_terms(spec: PodSpec) -> list[list[dict[str, Any]]]:
    """The required node affinity as alternatives, each a list of label expressions.

    Empty when there is none.
    """
    affinity = (spec.affinity or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return [term.get("matchExpressions") or [] for term in required.get("nodeSelectorTerms") or ()]


def unmatched(spec: PodSpec, labels: Mapping[str, str]) -> tuple[str, ...]:
    """What a node's labels lack for this pod.

    `key=value` of its selector, and `key` of its required affinity.
    """
    missing = [f"{key}={value}" for key, value in spec.node_selector.items() if labels.get(key) != value]
    terms = required_terms(spec)
    if terms and not any(all(_expression_holds(labels, e) for e in term) for term in terms):
        missing += [str(e.get("key", "")) for term in terms for e in term if not _expression_holds(labels, e)]
    return tuple(dict.fromkeys(missing))


@dataclass(frozen=True, kw_only=True)
class Obstacles:
    """Why one node does not take a pod; none at all when it does."""

    node: str
    cordoned: bool = False
    taints: tuple[Taint, ...] = ()
    labels: tuple[str, ...] = ()
    short: Mapping[str, float]

    def __bool__(self) -> bool:
        return bool(self.cordoned or self.taints or self.labels or self.short)


def _held_by(node: Node) -> dict[str, int]:
    found = _offered_by(node, node.status.capacity)
    if any(found.values()):
        return {name: count for name, count in found.items() if count}
    counted = quantity(node.labels.get("nvidia.com/gpu.count")) or 0
    replicas = quantity(node.labels.get("nvidia.com/gpu.replicas")) or 1
    return {GPU: int(counted * max(replicas, 1))} if counted else {}


def _offered_by(node: Node, resources: Resources | None = None) -> dict[str, int]:
    listed = node.status.allocatable if resources is None else resources
    return {name: int(quantity(value) or 0) for name, value in listed.items() if is_gpu_resource(name)}


class Placement(Observations):
    """Questions about nodes and room."""

    @property
    def gpu_nodes(self) -> tuple[Node, ...]:
        """Nodes with GPUs by capacity, or by the labels that say a GPU is in them."""
        return self._gpu_nodes

    @cached_property
    def _gpu_nodes(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if self.gpus_in(node))

    def gpus_in(self, node: Node) -> dict[str, int]:
        """GPUs a node is known to hold, by resource: its capacity, else what its GPU labels count."""
        return self._held[node.name] if node.name in self._held else _held_by(node)

    @cached_property
    def _held(self) -> Mapping[str, dict[str, int]]:
        return {node.name: _held_by(node) for node in self.nodes}

    def allocatable_gpus(self, node: Node) -> dict[str, int]:
        """GPUs the kubelet would hand out, by resource; a resource it does not know is left out."""
        return self._offered[node.name] if node.name in self._offered else _offered_by(node)

    @cached_property
    def _offered(self) -> Mapping[str, dict[str, int]]:
        return {node.name: _offered_by(node) for node in self.nodes}

    def used_on(self, node: str) -> Mapping[str, float]:
        """What the unfinished pods on a node have requested, by resource."""
        return self._used.get(node, {})

    @cached_property
    def _used(self) -> Mapping[str, Mapping[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for pod in self.pods:
            if pod.spec.node_name and not pod.finished:
                total = found.setdefault(pod.spec.node_name, {"pods": 0.0})
                _add(total, requests_of(pod.spec))
                total["pods"] += 1
        return found

    def free_on(self, node: Node, resource: str) -> float:
        """What is left of a resource on a node; never below zero."""
        have = quantity(node.status.allocatable.get(resource)) or 0.0
        return max(0.0, have - self.used_on(node.name).get(resource, 0.0))

    def obstacles(self, spec: PodSpec, node: Node) -> Obstacles:
        """Why a node does not take a pod of this spec now."""
        asked = requests_of(spec)
        short = {
            name: self.free_on(node, name) for name, want in asked.items() if want > self.free_on(node, name)
        }
        cordon = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
        return Obstacles(
            node=node.name,
            cordoned=node.spec.unschedulable and not tolerates(spec.tolerations, cordon),
            taints=tuple(t for t in untolerated(spec, node) if t.key != cordon.key),
            labels=unmatched(spec, node.labels),
            short=short,
        )

    def places(self, spec: PodSpec) -> tuple[Obstacles, ...]:
        """Each node's obstacles for a pod of this spec, in the nodes' order."""
        return tuple(self.obstacles(spec, node) for node in self.nodes)

    def matching(self, spec: PodSpec) -> tuple[Node, ...]:
        """Nodes that a pod's selector and required affinity ask for."""
        key = msgspec.json.encode((spec.node_selector, spec.affinity))
        if key not in self._matching:
            self._matching[key] = tuple(node for node in self.nodes if not unmatched(spec, node.labels))
        return self._matching[key]

    @cached_property
    def _matching(self) -> dict[bytes, tuple[Node, ...]]:
        return {}

    def eligible(self, spec: PodSpec) -> tuple[Node, ...]:
        """Nodes a pod may run on by taints and labels and cordons, whatever room they have."""
        key = msgspec.json.encode((spec.node_selector, spec.affinity, spec.tolerations))
        if key not in self._eligible:
            self._eligible[key] = tuple(
                node
                for node in self.matching(spec)
                if not node.spec.unschedulable and not untolerated(spec, node)
            )
        return self._eligible[key]

    @cached_property
    def _eligible(self) -> dict[bytes, tuple[Node, ...]]:
        return {}

    def fits(self, spec: PodSpec) -> tuple[str, ...]:
        """Nodes that would take a pod of this spec now."""
        return tuple(node.name for node in self.eligible(spec) if not self.obstacles(spec, node))

    def waiting_for(self, nodes: Iterable[Node]) -> tuple[Pod, ...]:
        """The unschedulable GPU pods that would fit on one of these nodes with all its GPUs offered."""
        among = tuple(nodes)
        return tuple(pod for pod, _ in self.troubled_as("unschedulable") if self.would_fit(pod, among))

    def would_fit(self, pod: Pod, nodes: Iterable[Node]) -> bool:
        """Whether a GPU pod would fit on one of these nodes if that offered every GPU it holds."""
        asked = gpus_of(pod.spec)
        return bool(asked) and any(self._would_fit(pod, node, asked) for node in nodes)

    def _would_fit(self, pod: Pod, node: Node, asked: Mapping[str, int]) -> bool:
        room = {
            name: count - self.used_on(node.name).get(name, 0.0) for name, count in self.gpus_in(node).items()
        }
        if any(room.get(name, 0.0) < count for name, count in asked.items()):
            return False
        place = self.obstacles(pod.spec, node)
        return not (place.taints or place.labels or any(not is_gpu_resource(n) for n in place.short))
