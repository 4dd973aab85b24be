"""What a node's GPUs can do, from its labels: product, memory of one, compute capability.

The labels of GPU Feature Discovery count; a product name of a cloud's own label is looked up where they are
missing. Source: GFD 0.20 labels; NVIDIA data sheets; memory as the driver reports it. Checked 2026-11-23.
"""

import re
from dataclasses import dataclass

from tillerman.cluster.model import Node
from tillerman.cluster.quantity import GIB, MIB, quantity

#: Labels that name the product, the most exact first.
_PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "k8s.amazonaws.com/accelerator",
    "accelerator",
)
#: Product name, GiB of one GPU, compute capability times ten.
_PRODUCTS: tuple[tuple[str, float, int], ...] = (
    (r"gb200|b200", 179, 100),
    (r"b300", 268, 103),
    (r"h200", 139.8, 90),
    (r"h100|h800", 79.2, 90),
    (r"a100.*80|a800", 79.2, 80),
    (r"a100", 39.4, 80),
    (r"l40s?\b", 44.4, 89),
    (r"\bl4\b", 22.0, 89),
    (r"a10g?\b", 22.0, 86),
    (r"a30\b", 23.7, 80),
    (r"v100.*32", 31.7, 70),
    (r"v100", 15.8, 70),
    (r"\bt4\b", 14.6, 75),
    (r"p100", 15.9, 60),
    (r"rtx.pro.6000", 95.0, 120),
)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU of a node: `capability` is 89 for 8.9; what the labels do not say is None."""

    product: str
    memory_bytes: float | None
    capability: int | None


def gpu_of(node: Node) -> Gpu | None:
    """The kind of GPU a node holds, or None when no label says."""
    product = next((node.labels[label] for label in _PRODUCT_LABELS if node.labels.get(label)), "")
    memory = quantity(
        node.labels.get("nvidia.com/gpu.memory") or node.labels.get("karpenter.k8s.aws/instance-gpu-memory")
    )
    major, minor = (
        quantity(node.labels.get(f"nvidia.com/gpu.compute.{part}")) for part in ("major", "minor")
    )
    if not product and memory is None:
        return None
    known = next((p for p in _PRODUCTS if re.search(p[0], product.lower())), None)
    sliced = "mig" in product.lower()
    return Gpu(
        product=product,
        memory_bytes=memory * MIB if memory else known[1] * GIB if known and not sliced else None,
        capability=int(major * 10 + (minor or 0)) if major else known[2] if known else None,
    )
