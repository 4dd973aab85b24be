"""Who else is on a GPU: how many pods one is given to, what a server reserves, who is there uncounted."""

from collections.abc import Iterator

from tillerman.cluster.enginelog import default_share
from tillerman.cluster.model import Node, Pod
from tillerman.cluster.placement import gpus_of
from tillerman.cluster.quantity import quantity
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot

#: Values of NVIDIA_VISIBLE_DEVICES with which a container sees no GPU. Source: NVIDIA container toolkit
#: 1.20.
_SEES_NONE = ("", "none", "void")


def share_of(server: Server) -> float:
    """The share of a GPU's memory that a server reserves: its flag, else the engine's default."""
    return server.number("gpu-memory-utilization") or default_share(server.container.image)


def shares_of(cluster: Snapshot, node: Node) -> int:
    """How many pods one GPU of a node is given to: by its label, else offered GPUs for each that is seen."""
    replicas = quantity(node.labels.get("nvidia.com/gpu.replicas"))
    if replicas:
        return max(1, int(replicas))
    samples = cluster.gpu_series(node.name).samples("DCGM_FI_DEV_FB_USED")
    devices = {sample.labels.get("UUID") for sample in samples}
    sliced = any(sample.labels.get("GPU_I_ID") for sample in samples)
    offered = sum(cluster.allocatable_gpus(node).values())
    return max(1, offered // len(devices)) if devices and not sliced else 1


def intruders(cluster: Snapshot, node: Node) -> Iterator[tuple[Pod, Server | None]]:
    """Pods on a node that see its GPUs and request none; the GPU stack's own pods see them by right."""
    for pod in cluster.pods_on(node.name):
        daemon = any(
            ref.kind in ("DaemonSet", "Node") for ref in (cluster.owner_of(pod), *cluster.owners_of(pod))
        )
        if pod.finished or gpus_of(pod.spec) or pod.spec.resource_claims or daemon:
            continue
        server = cluster.server_of(pod)
        seen = (v.value for c in pod.spec.containers for v in c.env if v.name == "NVIDIA_VISIBLE_DEVICES")
        runtime = pod.spec.runtime_class_name.startswith("nvidia")
        server_on_gpu = server is not None and "cpu" not in server.container.image
        if server_on_gpu or runtime or any(value not in _SEES_NONE for value in seen):
            yield pod, server
