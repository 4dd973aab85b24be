"""The tensor parallelism asks for GPUs the pod does not have, or does not divide the model's attention heads.

What happens
`--tensor-parallel-size` spreads the attention heads over that many GPUs of one node. The pod sees only the
GPUs it requests: with fewer, or with heads that do not divide evenly, the engine's own check ends the
start.

How it shows
Exit 1 within seconds; `World size (8) is larger than the number of available GPUs (4) in this node`, or
`Total number of attention heads (40) must be divisible by tensor parallel size (3)`, as a validation error.

When we stay silent
The flags now fit the GPUs and the heads; several pods form one engine (Ray, LeaderWorkerSet, `--nnodes`);
without a log, unless the server fails, and the flags ask for more GPUs than the pod requests.

What we propose
The largest parallelism that the pod's GPUs and the heads allow; where the weights need more GPUs than that,
as many GPUs as the flag says, if a node holds them.

Sources
vLLM 0.32 `ParallelConfig` and `ModelConfig` (captured); TGI 3.3 launcher; Kubernetes device plugins.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.model import Ref
from tillerman.cluster.models import model_of
from tillerman.cluster.parallelism import edit_gpus, edit_tensor_parallel, most_gpus
from tillerman.cluster.quantity import counted, gibibytes
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import Crash, crashes, hurt_by
from tillerman.patterns.fault import Fault, Layer, one_each, outage, seen_log, seen_object
from tillerman.sizing.gpus import gpu_of
from tillerman.sizing.weights import Weights, weights_of

_EXCEEDS = (
    r"World size \((?P<world>\d+)\) is larger than the number of available GPUs \((?P<seen>\d+)\)"
    r"|[Tt]ensor parallel size \((?P<wide>\d+)\) exceeds available GPUs \((?P<there>\d+)\)"
    r"|NotEnoughCUDADevices|CUDA error: invalid device ordinal|local rank \d+ is out of bounds"
)
_HEADS = (
    r"attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size"
    r"|(?P<other>\d+) is not divisible by \d+\b"
)
#: Of a GPU's memory the weights may take this much, for the KV cache to be of use.
FOR_WEIGHTS = 0.75
#: Ways to spread a model over GPUs, the fewest first.
SIZES = (2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class TpExceedsOrNotDivisible(Fault):
    """A server whose tensor parallelism fits neither its GPUs nor its model."""

    layer = Layer.ENGINE

    server: Server
    size: int
    gpus: int
    heads: int | None
    weights: Weights | None
    gpu_bytes: float | None
    restarts: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose servers fail for it, by their log, else by flags and requests."""
        found = (cls._in(cluster, cluster.owner_of(crash.pod), crash) for crash in crashes(cluster))
        return one_each(found)

    @classmethod
    def _in(cls, cluster: Snapshot, owner: Ref, crash: Crash) -> Self | None:
        server = crash.server
        exceeds, uneven = (crash.log.first(p) if crash.log else None for p in (_EXCEEDS, _HEADS))
        heads = int(uneven[1]["heads"] or uneven[1]["other"]) if uneven else None
        size, gpus = server.tensor_parallel, server.gpus
        too_wide = bool(gpus) and _world(server) > gpus and not _spans_pods(cluster, server)
        odd = heads is not None and size > 1 and heads % size != 0
        said = uneven if odd else exceeds
        if not (odd or too_wide) or crash.end.exit_code != 1 or (crash.log is not None and said is None):
            return None
        node = cluster.node(crash.pod.spec.node_name)
        gpu = gpu_of(node) if node else None
        quantization = server.flag("quantization")
        line = [seen_log(crash.pod.ref, crash.container, said[0].number, said[0].text)] if said else []
        requested = f"spec.containers[{crash.container}].resources.requests"
        asked = seen_object(crash.pod.ref, requested, counted(gpus, "GPU"))
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=(*line, asked, *crash.evidence),
            hurts=hurt_by(cluster, owner),
            certainty="proven" if said else "likely",
            server=server,
            size=size,
            gpus=gpus,
            heads=heads if odd else None,
            weights=weights_of(model_of(cluster, server), quantization.value if quantization else ""),
            gpu_bytes=gpu.memory_bytes if gpu else None,
            restarts=crash.restarts,
        )

    def summary(self) -> str:
        """The parallelism against what it has to fit."""
        wrong = f"needs {_world(self.server)} GPUs, its pod requests {self.gpus}"
        if self.heads:
            wrong = f"does not divide the model's {self.heads} attention heads"
        name, restarts = self.server.container.name, counted(self.restarts, "restart")
        return f"--tensor-parallel-size {self.size} of `{name}` {wrong}; {restarts}"

    def explain(self) -> list[str]:
        """From the flag to the exit."""
        cause = f"the flags ask for {_world(self.server)} GPUs, the pod sees the {self.gpus} that it requests"
        if self.heads:
            cause = f"{self.heads} attention heads cannot be spread evenly over {self.size} GPUs"
        return [cause, "the engine checks that before it loads, and exits", "every restart ends the same way"]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The parallelism that fits; more GPUs where the weights need them and a node has them."""
        within = self._widest(self.gpus)
        if within and self._holds(within):
            why = f"{self._reason(within)}, and the pod requests {counted(self.gpus, 'GPU')}"
            change = edit_tensor_parallel(cluster, self.server, within, why)
            return [change] if change else []
        room = range(self.gpus + 1, most_gpus(cluster, self.server) + 1)
        sizes = [n for n in (self.size, *SIZES) if n in room and self._fits(n) and self._holds(n)]
        if not sizes:
            return []
        needs = f"{gibibytes(self.weights.low_bytes)} of weights need" if self.weights else "the model needs"
        why = f"{self._reason(sizes[0])}; {needs} as many, and a node has them"
        gpus = edit_gpus(cluster, self.server, sizes[0], why)
        spread = edit_tensor_parallel(cluster, self.server, sizes[0], why) if sizes[0] != self.size else None
        return [change for change in (gpus, spread) if change] if gpus else []

    def _fits(self, size: int) -> bool:
        return self.heads is None or self.heads % size == 0

    def _widest(self, gpus: int) -> int | None:
        """The largest parallelism on that many GPUs; a power of two where the heads are unknown."""
        sizes = range(gpus * self.size // _world(self.server), 0, -1)
        return next((n for n in sizes if (self._fits(n) if self.heads else n & (n - 1) == 0)), None)

    def _holds(self, size: int) -> bool:
        """Whether the weights fit that many GPUs, as far as both are known."""
        if self.weights is None or self.gpu_bytes is None:
            return True
        return self.weights.low_bytes / size <= self.gpu_bytes * FOR_WEIGHTS

    def _reason(self, size: int) -> str:
        return (
            f"{self.heads} heads divide by {size}" if self.heads else f"{counted(size, 'GPU')} for one engine"
        )

    def advice(self) -> list[str]:
        """Where the numbers are."""
        return [
            "`num_attention_heads` in the model's config.json says what divides; "
            "--pipeline-parallel-size spreads the rest",
        ]


def _world(server: Server) -> int:
    """GPUs that one engine's flags ask for in a pod, its data parallel ranks there included."""
    local = server.number("data-parallel-size-local") or server.number("data-parallel-size") or 1
    pipeline, nodes = server.number("pipeline-parallel-size") or 1, server.number("nnodes") or 1
    return math.ceil(server.tensor_parallel * pipeline * local / nodes)


def _spans_pods(cluster: Snapshot, server: Server) -> bool:
    """Whether several pods form one engine, the flags not saying how many: one need not have all GPUs."""
    if server.number("nnodes"):
        return False
    backend = server.flag("distributed-executor-backend")
    group = cluster.owner_of(server.pod).kind == "LeaderWorkerSet"
    group = group or any(name in server.env for name in ("LWS_GROUP_SIZE", "RAY_NODE_COUNT"))
    external = server.flag("data-parallel-rank") or server.flag("data-parallel-address")
    return bool(group or external or (backend and backend.value == "ray"))
