"""The LLM estate at a glance: GPU nodes, models served, the GPU daemon stack."""

from dataclasses import dataclass, field
from typing import get_args

from tillerman.cluster.gpustack import Role
from tillerman.cluster.index import Source
from tillerman.cluster.model import Node, Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot

#: The serving objects that are shown even when no pod of theirs exists.
SERVING_KINDS = ("InferenceService", "LLMInferenceService")


@dataclass(frozen=True, kw_only=True)
class GpuNode:
    """A node with GPUs: how many it holds, offers and has free, by its first GPU resource.

    Memory of one GPU in MiB.
    """

    name: str
    product: str
    memory_mib: int | None
    resource: str
    capacity: int
    allocatable: int
    used: int
    notes: tuple[str, ...]

    @property
    def free(self) -> int:
        """GPUs that a pod could get now."""
        return (
            0
            if "cordoned" in self.notes or "not ready" in self.notes
            else max(0, self.allocatable - self.used)
        )


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model served: its owner, engine, replicas, GPUs of one replica, load.

    A load of None is unknown, never zero.
    """

    owner: Ref
    engine: str
    model: str
    ready: int
    desired: int
    gpus: int
    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StackPart:
    """One part of the GPU daemon stack: its workload, pods ready and wanted."""

    role: str
    workload: Ref
    ready: int | None
    desired: int | None


@dataclass(frozen=True, kw_only=True)
class Estate:
    """Everything above, of one snapshot, with the size of the whole."""

    source: Source
    nodes: int
    pods: int
    gpu_nodes: tuple[GpuNode, ...]
    models: tuple[Served, ...]
    stack: tuple[StackPart, ...] = field(default=())


def estate_of(cluster: Snapshot) -> Estate:
    """The estate in a snapshot: nodes and models by name, the stack in the order of its chain."""
    models = _models(cluster)
    return Estate(
        source=cluster.seen,
        nodes=len(cluster.nodes),
        pods=len(cluster.pods),
        gpu_nodes=tuple(_gpu_node(cluster, node) for node in sorted(cluster.gpu_nodes, key=lambda n: n.name)),
        models=models,
        stack=tuple(
            _part(role, workload)
            for role in get_args(Role)
            for workload in cluster.stack(role)
            if _wanted(workload) != 0
        ),
    )


def _gpu_node(cluster: Snapshot, node: Node) -> GpuNode:
    capacity = cluster.gpus_in(node)
    resource = max(capacity, key=lambda name: capacity[name])
    memory = node.labels.get("nvidia.com/gpu.memory", "")
    notes = [
        *(["not ready"] if not node.ready else []),
        *(["cordoned"] if node.spec.unschedulable else []),
        *(
            [f"shared x{count}"]
            if (count := node.labels.get("nvidia.com/gpu.replicas", "1")) not in ("", "0", "1")
            else []
        ),
    ]
    allocatable = cluster.allocatable_gpus(node).get(resource, 0)
    if allocatable < capacity[resource]:
        notes.append(f"{capacity[resource] - allocatable} not allocatable")
    return GpuNode(
        name=node.name,
        product=node.labels.get("nvidia.com/gpu.product")
        or node.labels.get("cloud.google.com/gke-accelerator", "?"),
        memory_mib=int(memory) if memory.isdigit() else None,
        resource=resource,
        capacity=capacity[resource],
        allocatable=allocatable,
        used=int(cluster.used_on(node.name).get(resource, 0)),
        notes=tuple(notes),
    )


def _models(cluster: Snapshot) -> tuple[Served, ...]:
    groups: dict[Ref, list[Server]] = {item.ref: [] for kind in SERVING_KINDS for item in cluster.all(kind)}
    for server in cluster.servers:
        groups.setdefault(cluster.owner_of(server.pod), []).append(server)
    found = [_served(cluster, owner, servers) for owner, servers in groups.items()]
    return tuple(sorted(found, key=lambda s: (s.owner.namespace, s.owner.name)))


def _served(cluster: Snapshot, owner: Ref, servers: list[Server]) -> Served:
    first = servers[0] if servers else None
    pods = [server.pod for server in servers]
    trouble = sorted({t.kind for pod in pods if (t := cluster.trouble(pod))})
    return Served(
        owner=owner,
        engine=first.engine if first else "?",
        model=_model_name(first, cluster.object_at(owner)),
        ready=sum(pod.ready for pod in pods),
        desired=_desired(cluster, owner, pods),
        gpus=first.gpus if first else 0,
        running=_total(cluster, pods, "running"),
        waiting=_total(cluster, pods, "waiting"),
        kv_usage=_highest(cluster, pods, "kv_usage"),
        notes=tuple(trouble),
    )


def _model_name(server: Server | None, owner: Object | None) -> str:
    if owner:
        for path in ("spec.predictor.model.storageUri", "spec.model.uri"):
            if uri := owner.text(path):
                return uri.split("://")[-1]
    for name in ("served-model-name", "model"):
        if server and (flag := server.flag(name)):
            return flag.value
    words = (*server.container.command, *server.container.args) if server else ()
    for at, word in enumerate(words[:-1]):
        if word == "serve":
            return words[at + 1]
    return "?"


def _desired(cluster: Snapshot, owner: Ref, pods: list[Pod]) -> int:
    """Replicas wanted: what the workloads of these pods say, else the pods there are."""
    workloads = {w.ref: w for pod in pods if (w := cluster.workload_of(pod))}
    counts = [w.count("spec.replicas") for w in workloads.values()]
    return sum(c for c in counts if c is not None) if counts and None not in counts else len(pods)


def _total(cluster: Snapshot, pods: list[Pod], question: str) -> float | None:
    found = [v for pod in pods if (v := cluster.series(pod).value(question)) is not None]
    return sum(found) if found else None


def _highest(cluster: Snapshot, pods: list[Pod], question: str) -> float | None:
    found = [v for pod in pods if (v := cluster.series(pod).value(question)) is not None]
    return max(found) if found else None


def _wanted(workload: Object) -> int | None:
    if workload.kind == "DaemonSet":
        return workload.count("status.desiredNumberScheduled")
    return workload.count("spec.replicas")


def _part(role: str, workload: Object) -> StackPart:
    path = "status.numberReady" if workload.kind == "DaemonSet" else "status.readyReplicas"
    desired = _wanted(workload)
    ready = workload.count(path)
    return StackPart(
        role=role,
        workload=workload.ref,
        ready=0 if ready is None and workload.table("status") and desired is not None else ready,
        desired=desired,
    )
