"""The weights are quantized in a way that the GPU cannot compute.

What happens
Each quantization needs a least compute capability: FP8 activations 8.9, NVFP4 10.0, AWQ 7.5, most others
7.0 to 8.0. A checkpoint or `--quantization` that a GPU is too old for is refused at start, on that GPU
only.

How it shows
Exit 1 before the weights load; `The quantization method fp8 is not supported for the current GPU. Minimum
capability: 80. Current capability: 75.` or `Quantization scheme is not supported for the current GPU. Min
capability: 89.`

When we stay silent
No log of the failed start was seen; the pods may no longer run on such a GPU.

What we propose
A node selector for a GPU product of the cluster that can do it and holds as many GPUs; where there is none,
advice: another format of the same model.

Sources
vllm-project/vllm#4327, huggingface/huggingface-llama-recipes#21, gpustack/gpustack#1774; vLLM 0.32
quantization configs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.models import model_of
from tillerman.cluster.quantity import counted
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.configuration.capability import PRODUCT, able_products, capability_of, may_stay
from tillerman.patterns.crash import crashes_saying, hurt_by
from tillerman.patterns.fault import Fault, Layer, outage

#: vLLM passes the second message in pieces, so it is printed with quotes and commas between them.
_REFUSED = (
    r"(?:[Tt]he quantization method (?P<method>\S+)|Quantization scheme) is not supported for\W+the current "
    r"GPU\W+Min(?:imum)? capability: (?P<least>\d+)\W+Current capability: (?P<have>\d+)"
)


@dataclass(frozen=True, kw_only=True)
class QuantUnsupportedOnGpu(Fault):
    """A server whose quantization its GPU cannot compute."""

    layer = Layer.ENGINE

    server: Server
    method: str
    model: str
    least: int
    have: int
    product: str
    restarts: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose servers were refused on a GPU that their pods may still run on."""
        for owner, said in crashes_saying(cluster, _REFUSED):
            first = next((one for one in said if may_stay(cluster, one.crash.server)), None)
            if first is None:
                continue
            node = cluster.node(first.crash.pod.spec.node_name)
            yield cls(
                subject=owner,
                severity=outage(cluster, owner),
                evidence=first.evidence,
                hurts=hurt_by(cluster, owner),
                server=first.crash.server,
                method=first.found["method"] or "of the checkpoint",
                model=model_of(cluster, first.crash.server),
                least=int(first.found["least"]),
                have=int(first.found["have"]),
                product=capability_of(node)[0],
                restarts=first.crash.restarts,
            )

    def summary(self) -> str:
        """The method, what it needs, what the GPU has."""
        return (
            f"quantization {self.method} of `{self.server.container.name}` needs compute capability "
            f"{self.least / 10}, {self.product or 'the GPU'} of {self.server.pod.spec.node_name} has "
            f"{self.have / 10}; {counted(self.restarts, 'restart')}"
        )

    def explain(self) -> list[str]:
        """From the format to the exit."""
        return [
            f"the weights of {self.model or 'the model'} are quantized: {self.method}",
            f"its kernels exist from compute capability {self.least / 10} on, this GPU has {self.have / 10}",
            "the engine checks that before it loads, and exits",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """GPUs that can, where the cluster has them."""
        product = next(able_products(cluster, self.server, self.least), None)
        if product is None:
            return []
        have = self.server.pod.spec.node_selector
        place = cluster.place_of(self.server.pod, self.server.container.name)
        mine = place.target.table(f"{place.pod}.nodeSelector") if place else {}
        why = f"{product} can compute {self.method}; {self.product or 'the present GPU'} cannot"
        selector = {**(mine or {}), PRODUCT: product}
        change = cluster.edit_pod(self.server.pod, "nodeSelector", selector, why)
        return [change] if change and have.get(PRODUCT) != product else []

    def advice(self) -> list[str]:
        """The other way: another format."""
        return [
            "a four-bit checkpoint (AWQ, GPTQ) or the plain sixteen-bit one runs on older GPUs, if it fits",
            "with --quantization set by hand on plain weights, removing the flag is enough",
        ]
