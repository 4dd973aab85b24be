"""Where a pod could run: free GPUs, and why each node would not take it, as the scheduler decides.

Source: the default plugins of kube-scheduler 1.37 (NodeUnschedulable, TaintToleration, NodeAffinity,
NodeResourcesFit). Not judged: volumes' topology, spread constraints, pod affinity, ports, DRA claims; the
scheduler's own message says those.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tillerman.cluster.life import is_sidecar
from tillerman.cluster.model import Container, Node, Pod, PodSpec, Taint, Toleration
from tillerman.cluster.observations import Observations
from tillerman.cluster.quantity import quantity

GPU = "nvidia.com/gpu"

_GPU_RESOURCE = re.compile(r"^(?:[\w.-]+/(?:gpu|gaudi|gpu\.shared)$|nvidia\.com/mig-|gpu\.intel\.com/)")


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
        found = {n: int(quantity(v) or 0) for n, v in node.status.capacity.items() if is_gpu_resource(n)}
        if any(found.values()):
            return {name: count for name, count in found.items() if count}
        counted = quantity(node.labels.get("nvidia.com/gpu.count")) or 0
        replicas = quantity(node.labels.get("nvidia.com/gpu.replicas")) or 1
        return {GPU: int(counted * max(replicas, 1))} if counted else {}

    def allocatable_gpus(self, node: Node) -> dict[str, int]:
        """GPUs the kubelet would hand out, by resource; a resource it does not know is left out."""
        return {n: int(quantity(v) or 0) for n, v in node.status.allocatable.items() if is_gpu_resource(n)}

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

    def eligible(self, spec: PodSpec) -> tuple[Node, ...]:
        """Nodes a pod may run on by taints and labels and cordons, whatever room they have."""
        return tuple(
            node
            for node in self.nodes
            if not untolerated(spec, node)
            and not unmatched(spec, node.labels)
            and not node.spec.unschedulable
        )

    def fits(self, spec: PodSpec) -> tuple[str, ...]:
        """Nodes that would take a pod of this spec now."""
        return tuple(place.node for place in self.places(spec) if not place)

    def waiting_for(self, nodes: Iterable[Node]) -> tuple[Pod, ...]:
        """The unschedulable GPU pods that would fit on one of these nodes with all its GPUs offered."""
        found = []
        for pod, _ in self.troubled_as("unschedulable"):
            asked = gpus_of(pod.spec)
            if asked and any(self._would_fit(pod, node, asked) for node in nodes):
                found.append(pod)
        return tuple(found)

    def _would_fit(self, pod: Pod, node: Node, asked: Mapping[str, int]) -> bool:
        place = self.obstacles(pod.spec, node)
        room = {
            name: count - self.used_on(node.name).get(name, 0.0) for name, count in self.gpus_in(node).items()
        }
        enough = all(room.get(name, 0.0) >= count for name, count in asked.items())
        return enough and not (
            place.taints or place.labels or any(not is_gpu_resource(n) for n in place.short)
        )
