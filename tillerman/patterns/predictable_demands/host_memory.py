"""What a model server takes of its node's memory: pinned buffers, weights while they load, and a base."""

import json
from dataclasses import dataclass

from tillerman.cluster.placement import gpus_of
from tillerman.cluster.quantity import GIB, gibibytes
from tillerman.cluster.servers import Server
from tillerman.sizing.weights import Weights

#: Interpreter, tokenizers, compile workers and the loader's buffers of one server. Source: domain notes,
#: rules of thumb measured on vLLM 0.2x ("largest shard x loader concurrency + 8 GiB").
BASE_BYTES = 8 * GIB
#: Each further GPU is another process with a CUDA context's host part.
WORKER_BYTES = 2 * GIB
#: Flags that pin host memory, in GiB: for the server as a whole, or for each of its GPUs. Sources: vLLM
#: 0.6-0.32 (`--swap-space` removed in V1), SGLang 0.5, LMCache.
_WHOLE = ("kv-offloading-size",)
_EACH = ("swap-space", "cpu-offload-gb", "hicache-size")
_ENV_EACH, _ENV_WHOLE = ("LMCACHE_MAX_LOCAL_CPU_SIZE",), ("VLLM_CPU_KVCACHE_SPACE",)


@dataclass(frozen=True, kw_only=True)
class HostMemory:
    """Bytes by what takes them, largest parts named; `sure_bytes` are those that no kernel can reclaim."""

    parts: tuple[tuple[str, float], ...]
    sure_bytes: float

    @property
    def total_bytes(self) -> float:
        """All parts together."""
        return sum(size for _, size in self.parts)

    @property
    def said(self) -> str:
        """The sum as a person checks it."""
        return " + ".join(f"{gibibytes(size)} {name}" for name, size in self.parts)


def host_memory(server: Server, weights: Weights | None) -> HostMemory:
    """What a server needs of host memory; weights count in full, since loaders hold them there."""
    processes = max(1, server.tensor_parallel)
    base = BASE_BYTES + (processes - 1) * WORKER_BYTES
    pinned = _pinned(server, processes)
    parts = [*pinned, ("base", base)]
    if weights:
        parts.insert(0, ("weights", weights.high_bytes))
    sure = base + sum(size for _, size in pinned)
    if weights and not gpus_of(server.pod.spec):
        sure += weights.low_bytes
    return HostMemory(parts=tuple(parts), sure_bytes=sure)


def _pinned(server: Server, processes: int) -> list[tuple[str, float]]:
    found = [(name, server.number(name) or 0.0, 1) for name in _WHOLE]
    found += [(name, server.number(name) or 0.0, processes) for name in _EACH]
    found += [(name, _gib(server.env.get(name, "")), 1) for name in _ENV_WHOLE]
    found += [(name, _gib(server.env.get(name, "")), processes) for name in _ENV_EACH]
    found.append(("kv-transfer-config", _connector_gib(server), 1))
    return [(f"`{name}`", gib * times * GIB) for name, gib, times in found if gib > 0]


def _gib(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _connector_gib(server: Server) -> float:
    """The buffer of an offloading connector, which its configuration gives in bytes."""
    flag = server.flag("kv-transfer-config")
    try:
        extra = json.loads(flag.value).get("kv_connector_extra_config", {}) if flag else {}
        return float(extra.get("cpu_bytes_to_use", 0)) / GIB
    except (ValueError, AttributeError, TypeError):
        return 0.0
