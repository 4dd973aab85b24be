"""The model's weights do not fit the memory of the GPUs it is spread over.

What happens
Each GPU of a server holds an equal part of the weights, and beside it the CUDA context, activations and the
KV cache. When that part alone is larger than the GPU, loading runs out of memory, at the same tensor at
every restart.

How it shows
Exit 1 while weights load; `torch.OutOfMemoryError: CUDA out of memory. Tried to allocate ...` before `Model
loading took`; the process itself holds nearly all of the GPU.

When we stay silent
The error came after the start had completed (a peak under load is another fault); another process holds the
GPU's memory; without a log, unless weights and GPU memory are known and the least estimate is above what
the GPUs hold.

What we propose
The smallest `--tensor-parallel-size` with which the weights fit, and as many GPUs, where a node the pods
may use holds that many; else advice: quantized weights, several nodes, larger GPUs.

Sources
vllm-project/vllm#6746; llm-d planner, failed configurations; KAITO 0.12 estimator (overhead of 2.3 GiB and
5 %).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.model import Ref
from tillerman.cluster.parallelism import edit_gpus, edit_tensor_parallel, most_gpus
from tillerman.cluster.quantity import GIB, counted, gibibytes
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import Crash, crashes, hurt_by
from tillerman.patterns.fault import Fault, Layer, one_each, outage, seen_log, seen_object
from tillerman.patterns.predictable_demands.gpu_neighbours import share_of
from tillerman.patterns.predictable_demands.model_memory import weights_in
from tillerman.sizing.gpus import gpu_of
from tillerman.sizing.weights import Weights

_OUT_OF_MEMORY = r"(?:OutOfMemoryError|HIP out of memory|CUDA out of memory|CUDA error: out of memory).*"
#: What a server prints that came up: its start is over.
_SERVED = r"Avg prompt throughput|HTTP/1\.1\" 200|startup complete"
_CAPACITY = r"total capacity of ([\d.]+) GiB"
_OWN = r"this process has ([\d.]+) GiB memory in use"
#: Beside its part of the weights an engine needs this on each GPU to start at all. Source: KAITO 0.12.
OVERHEAD_BYTES, OVERHEAD_SHARE = 2.3 * GIB, 0.05
#: Weights that take less than this of the GPUs are not what is too large.
EASILY = 0.7
#: A process that holds less than this of a full GPU is not the one that filled it.
MOST_OF_IT = 0.8
#: Ways to spread a model over GPUs; heads of attention are multiples of these in nearly every model.
SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class CudaOomModelTooLarge(Fault):
    """A server whose weights are larger than its GPUs."""

    layer = Layer.ENGINE

    server: Server
    weights: Weights | None
    gpu_bytes: float | None
    spread: int
    fitting: int | None
    restarts: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose servers ran out of GPU memory while loading, or cannot but do so."""
        found = (cls._in(cluster, cluster.owner_of(crash.pod), crash) for crash in crashes(cluster))
        return one_each(found)

    @classmethod
    def _in(cls, cluster: Snapshot, owner: Ref, crash: Crash) -> Self | None:
        server, weights = crash.server, weights_in(cluster, crash.server, crash.ran)
        found = crash.log.first(_OUT_OF_MEMORY) if crash.log else None
        gpu_bytes = _gpu_bytes(cluster, server, found[0].text if found else "")
        taken = weights.low_bytes / (gpu_bytes * _spread(server)) if weights and gpu_bytes else None
        if found and crash.log:
            if crash.log.first(_SERVED) or crash.ran.kv_gib is not None or _neighbour(found[0].text):
                return None
            if _wider(cluster, crash) or (taken is not None and taken < EASILY):
                return None
            evidence = [seen_log(crash.pod.ref, crash.container, found[0].number, found[0].text)]
        elif (
            crash.log
            or crash.end.exit_code != 1
            or taken is None
            or taken <= 1
            or _elsewhere(cluster, server)
        ):
            return None
        else:
            evidence = []
        if gpu_bytes:
            evidence.append(seen_object(crash.pod.ref, "memory of one GPU", gibibytes(gpu_bytes)))
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=(*evidence, *crash.evidence),
            hurts=hurt_by(cluster, owner),
            certainty="proven" if found else "likely",
            server=server,
            weights=weights,
            gpu_bytes=gpu_bytes,
            spread=_spread(server),
            fitting=_fitting(cluster, server, weights, gpu_bytes),
            restarts=crash.restarts,
        )

    def _sizes(self) -> tuple[str, str]:
        weights = f"{gibibytes(self.weights.high_bytes)} of weights" if self.weights else "the weights"
        each = f" of {gibibytes(self.gpu_bytes)}" if self.gpu_bytes else ""
        return weights, f"{counted(self.spread, 'GPU')}{each}"

    def summary(self) -> str:
        """Weights against GPUs."""
        weights, gpus = self._sizes()
        name = self.server.container.name
        return f"CUDA out of memory: `{name}` loads {weights} on {gpus}, {counted(self.restarts, 'restart')}"

    def explain(self) -> list[str]:
        """From the sizes to the loop."""
        weights, gpus = self._sizes()
        return [
            f"{weights} are spread over {gpus}" + (f" ({self.weights.assumed})" if self.weights else ""),
            "with the CUDA context and the first buffers, a part of them is more than one GPU holds",
            "loading runs out of memory at the same point at every restart",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """More GPUs for one engine, as many as it takes."""
        size = self.fitting
        if size is None:
            return []
        why = f"{self._sizes()[0]} fit on {size} GPUs like these, and a node that the pods may use has them"
        spread = edit_tensor_parallel(cluster, self.server, size, why)
        gpus = edit_gpus(cluster, self.server, size, why) if size > self.server.gpus else None
        whole = spread is not None and (gpus is not None or size <= self.server.gpus)
        return [change for change in (spread, gpus) if change] if whole else []

    def advice(self) -> list[str]:
        """The other ways to make it fit."""
        return [
            "weights in FP8 or four bits take a half or a third: such a checkpoint is another model URI",
            "a model larger than a node needs larger GPUs, or --pipeline-parallel-size over several nodes",
        ]


def _spread(server: Server) -> int:
    """GPUs the weights are spread over on one node."""
    return server.tensor_parallel * int(server.number("pipeline-parallel-size") or 1)


def _neighbour(text: str) -> bool:
    """Whether the message shows that another process holds the GPU's memory."""
    capacity, own = re.search(_CAPACITY, text), re.search(_OWN, text)
    return bool(capacity and own and float(own[1]) < MOST_OF_IT * float(capacity[1]))


def _wider(cluster: Snapshot, crash: Crash) -> bool:
    """Whether the server is spread wider now than the one that failed, as far as its GPUs allow."""
    if not crash.ran.settings:
        return crash.pod.ref.key in cluster.whatif
    return crash.ran.tensor_parallel < crash.server.tensor_parallel <= crash.server.gpus


def _elsewhere(cluster: Snapshot, server: Server) -> bool:
    """Whether weights may lie elsewhere than on this pod's GPUs: in host memory, or on other nodes."""
    return bool(
        not server.gpus
        or server.flag("cpu-offload-gb")
        or server.flag("enable-expert-parallel")
        or cluster.owner_of(server.pod).kind == "LeaderWorkerSet"
    )


def _gpu_bytes(cluster: Snapshot, server: Server, text: str) -> float | None:
    """The memory of one GPU: as the message says it, else by the node's labels."""
    capacity, node = re.search(_CAPACITY, text), cluster.node(server.pod.spec.node_name)
    gpu = gpu_of(node) if node else None
    return float(capacity[1]) * GIB if capacity else gpu.memory_bytes if gpu else None


def _fitting(
    cluster: Snapshot, server: Server, weights: Weights | None, gpu_bytes: float | None
) -> int | None:
    """The fewest GPUs of one node on which the weights fit; the next more where sizes are unknown."""
    wider = [size for size in SIZES if server.tensor_parallel < size <= most_gpus(cluster, server)]
    if not wider or weights is None or not gpu_bytes:
        return wider[0] if wider else None
    room = gpu_bytes * share_of(server) - OVERHEAD_BYTES
    return next((size for size in wider if weights.high_bytes / size * (1 + OVERHEAD_SHARE) <= room), None)
