"""What the GPUs of nodes can compute, and nodes that can what a server needs."""

from collections.abc import Iterator

from tillerman.cluster.model import Node
from tillerman.cluster.placement import gpus_of, unmatched, untolerated
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.sizing.gpus import gpu_of

PRODUCT = "nvidia.com/gpu.product"


def capability_of(node: Node | None) -> tuple[str, int | None]:
    """The product name of a node's GPUs, and their compute capability times ten, None when unknown."""
    gpu = gpu_of(node) if node else None
    return (gpu.product, gpu.capability) if gpu else ("", None)


def may_stay(cluster: Snapshot, server: Server) -> bool:
    """Whether a server's pod may be on the node it is on: not when its selector now asks for another."""
    node = cluster.node(server.pod.spec.node_name)
    return node is None or not unmatched(server.pod.spec, node.labels)


def able_products(cluster: Snapshot, server: Server, least: int) -> Iterator[str]:
    """GPU products, the most free first, of nodes that can do it and that hold what the pod asks."""
    asked = gpus_of(server.pod.spec)
    free: dict[str, float] = {}
    for node in cluster.nodes:
        product, capability = capability_of(node)
        holds = all(cluster.allocatable_gpus(node).get(name, 0) >= count for name, count in asked.items())
        lacking = [w for w in unmatched(server.pod.spec, node.labels) if not w.startswith(f"{PRODUCT}=")]
        fits = not untolerated(server.pod.spec, node) and not lacking
        if PRODUCT in node.labels and capability is not None and capability >= least and holds and fits:
            room = sum(cluster.free_on(node, name) for name in asked)
            free[product] = free.get(product, 0.0) + (0.0 if node.spec.unschedulable else room)
    yield from sorted(free, key=lambda product: (-free[product], product))
