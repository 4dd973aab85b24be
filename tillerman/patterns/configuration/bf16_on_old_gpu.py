"""The server is told to compute in bfloat16 on a GPU that cannot.

What happens
GPUs before Ampere (T4, V100: compute capability below 8.0) have no bfloat16. An engine that is told to use
it refuses to start there; the same flags work on every newer node, so it shows when a pod lands on an old
one.

How it shows
Exit 1 within seconds of the load; `Bfloat16 is only supported on GPUs with compute capability of at least
8.0. Your Tesla T4 GPU has compute capability 7.5.`

When we stay silent
The flags no longer ask for bfloat16, or the pods may no longer run on such a node; without a log, unless
the flag asks for it, the node's GPU is known to be older, and the server fails there.

What we propose
`--dtype=half`, where the flag is set now; as advice the node affinity that keeps it on newer GPUs.

Sources
vllm-project/vllm#1157, vllm-project/vllm#946, substratusai/vllm-docker#37; vLLM 0.32 `gpu_worker`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.model import Ref
from tillerman.cluster.quantity import counted
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.configuration.capability import capability_of, may_stay
from tillerman.patterns.crash import Crash, crashes, hurt_by
from tillerman.patterns.fault import Fault, Layer, one_each, outage, seen_log, seen_object

_REFUSED = r"(?i)bfloat16 is only supported on GPUs with compute capability of at least"
#: The first compute capability with bfloat16, times ten (Ampere). Source: CUDA programming guide.
AMPERE = 80
#: Values of `--dtype` that older GPUs can do.
_CAN = ("half", "float16", "float32", "float")


@dataclass(frozen=True, kw_only=True)
class Bf16OnOldGpu(Fault):
    """A server whose dtype its GPU does not have."""

    layer = Layer.ENGINE

    server: Server
    dtype: str
    product: str
    capability: int | None
    restarts: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose servers fail for it, by their log, else by flag and node."""
        found = (cls._in(cluster, cluster.owner_of(crash.pod), crash) for crash in crashes(cluster))
        return one_each(found)

    @classmethod
    def _in(cls, cluster: Snapshot, owner: Ref, crash: Crash) -> Self | None:
        flag, node = crash.server.flag("dtype"), cluster.node(crash.pod.spec.node_name)
        dtype = flag.value if flag else "auto"
        product, capability = capability_of(node)
        said = crash.log.first(_REFUSED) if crash.log else None
        known_old = capability is not None and capability < AMPERE and dtype == "bfloat16"
        if dtype in _CAN or not may_stay(cluster, crash.server) or (crash.log and not said):
            return None
        if not said and not (known_old and crash.end.exit_code == 1):
            return None
        facts = [seen_log(crash.pod.ref, crash.container, said[0].number, said[0].text)] if said else []
        if node and capability:
            facts.append(seen_object(node.ref, "GPU", f"{product}, compute capability {capability / 10}"))
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=(*facts, *crash.evidence),
            hurts=hurt_by(cluster, owner),
            certainty="proven" if said else "likely",
            server=crash.server,
            dtype=dtype,
            product=product,
            capability=capability,
            restarts=crash.restarts,
        )

    def summary(self) -> str:
        """The dtype and the GPU."""
        able = f", compute capability {self.capability / 10}" if self.capability else ""
        where = f"{self.product or 'the GPU'} of {self.server.pod.spec.node_name}"
        return (
            f"`{self.server.container.name}` computes in bfloat16 (--dtype {self.dtype}), which {where} does "
            f"not have{able}; {counted(self.restarts, 'restart')}"
        )

    def explain(self) -> list[str]:
        """From the flag to the exit."""
        return [
            f"--dtype is {self.dtype}, the model's weights are bfloat16",
            "GPUs before compute capability 8.0 have no bfloat16",
            "the engine checks that before it loads, and exits",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """Sixteen bits that the GPU has."""
        why = f"{self.product or 'the GPU'} has float16 and no bfloat16"
        change = cluster.edit_flag(self.server, "dtype", "half", why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """The other way: newer GPUs."""
        return [
            "to keep bfloat16, require `nvidia.com/gpu.compute.major` above 7 in the pods' node affinity",
            "a few models overflow in float16: compare answers before and after",
        ]
