"""Asking for fewer GPUs: how many a model server does not use or could do without, and the changes."""

from collections.abc import Iterable

from tillerman.cluster.change import Change
from tillerman.cluster.model import Node, Pod, PodSpec
from tillerman.cluster.parallelism import edit_gpus, edit_tensor_parallel
from tillerman.cluster.placement import gpus_of
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.predictable_demands.model_memory import weights_in
from tillerman.sizing.gpus import gpu_of

#: Of the memory of its GPUs a server's weights may take this much: the rest is its cache and activations.
SHARE = 0.5


def idle_gpus(cluster: Snapshot, pod: Pod) -> int:
    """GPUs that a model server asks for beyond what its parallelism uses; 0 when its flags do not say."""
    server = cluster.server_of(pod)
    if server is None or server.engine == "tgi" or server.flag("tensor-parallel-size") is None:
        return 0
    replicas = server.number("data-parallel-size-local") or server.number("data-parallel-size") or 1
    used = server.tensor_parallel * int(server.number("pipeline-parallel-size") or 1) * int(replicas)
    return max(0, sum(gpus_of(PodSpec(containers=(server.container,))).values()) - used)


def fewer_gpus(cluster: Snapshot, pod: Pod, fewer: int, why: str) -> list[Change]:
    """The change that lets a model server ask for so many GPUs less."""
    server = cluster.server_of(pod)
    asked = sum(gpus_of(PodSpec(containers=(server.container,))).values()) if server else 0
    change = edit_gpus(cluster, server, asked - fewer, why) if server else None
    return [change] if change else []


def narrower(cluster: Snapshot, pod: Pod, nodes: Iterable[Node], most: int) -> list[Change]:
    """Half the parallelism, or a quarter, at most so many GPUs, where weights leave room for the cache."""
    server, count = cluster.server_of(pod), sum(gpus_of(pod.spec).values())
    weights = weights_in(cluster, server) if server else None
    memory = [gpu.memory_bytes for node in nodes if (gpu := gpu_of(node)) and gpu.memory_bytes]
    if server is None or weights is None or not memory or server.tensor_parallel != count:
        return []
    size = count // 2
    while size > most:
        size //= 2
    if size < 1 or count % size or weights.high_bytes > SHARE * size * min(memory):
        return []
    why = f"{weights.assumed} fit on {counted(size, 'GPU')} of these nodes"
    flag = edit_tensor_parallel(cluster, server, size, why)
    return [flag, *fewer_gpus(cluster, pod, count - size, why)] if flag else []
