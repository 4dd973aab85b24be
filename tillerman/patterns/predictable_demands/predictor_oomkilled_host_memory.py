"""The model server takes more memory of its node than its limit allows, and the kernel kills it.

What happens
A server needs host memory too: interpreter and workers, the loader's buffers, weights on their way to the
GPU, pinned buffers for KV cache that is offloaded, everything in a memory-backed /dev/shm. The container's
limit counts it all; runtimes ship with defaults (2Gi) that no language model fits.

How it shows
Last state `OOMKilled`, exit 137, while the weights load, when buffers are pinned, or minutes later; no
error in the log, which just stops; the GPU's memory not full.

When we stay silent
The server has come up since and stayed up; the container has no limit; what was killed is not the model
server.

What we propose
A memory limit, and an equal request, of what the weights and flags add up to, or of twice the limit where
that is more; where no node has that much, a smaller offload buffer.

Sources
vllm-project/vllm#28923, vllm-project/vllm#3035, LMCache/LMCache#792, kserve default resources (KServe
0.20).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.enginelog import engine_log
from tillerman.cluster.life import last_end
from tillerman.cluster.model import Ref
from tillerman.cluster.quantity import GIB, counted, gibibytes, quantity, whole_gi
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import ending, hurt_by, still_failing
from tillerman.patterns.fault import Fault, Layer, one_each, outage, seen_log, seen_object
from tillerman.patterns.predictable_demands.host_memory import HostMemory, host_memory
from tillerman.patterns.predictable_demands.model_memory import weights_in

#: Where the sum says that the limit was enough, it was not: then this many times the limit.
GROWTH = 2
#: Offloading may be shrunk to this at the least; below it, it is not worth having.
LEAST_OFFLOAD_GIB = 4


@dataclass(frozen=True, kw_only=True)
class PredictorOomkilledHostMemory(Fault):
    """A model server that is killed at its memory limit."""

    layer = Layer.ENGINE

    server: Server
    limit_bytes: float
    needs: HostMemory
    restarts: int
    last_line: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose servers were killed at their limit and are not up again for good."""
        found = (cls._in(cluster, cluster.owner_of(server.pod), server) for server in cluster.servers)
        return one_each(found)

    @classmethod
    def _in(cls, cluster: Snapshot, owner: Ref, server: Server) -> Self | None:
        name = server.container.name
        status = server.pod.status_of(name)
        end = last_end(status) if status else None
        limit = quantity(server.container.resources.limits.get("memory"))
        if status is None or end is None or end.reason != "OOMKilled" or not limit:
            return None
        log = cluster.last_words(server.pod, name)
        needs = host_memory(server, weights_in(cluster, server, engine_log(log)))
        grown = server.pod.ref.key in cluster.whatif and limit >= needs.sure_bytes
        if grown or not still_failing(cluster, server.pod, status):
            return None
        last = log.lines[-1] if log and log.lines else None
        said = [seen_log(server.pod.ref, name, last.number, last.text)] if last else []
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=(
                seen_object(
                    server.pod.ref, f"spec.containers[{name}].resources.limits.memory", gibibytes(limit)
                ),
                *ending(server.pod, name),
                *said,
            ),
            hurts=hurt_by(cluster, owner),
            server=server,
            limit_bytes=limit,
            needs=needs,
            restarts=status.restart_count,
            last_line=last.text if last else "",
        )

    @property
    def wanted_bytes(self) -> float:
        """The limit that would do: what adds up, or twice what did not."""
        total = self.needs.total_bytes
        return total if total > self.limit_bytes else self.limit_bytes * GROWTH

    def summary(self) -> str:
        """The limit against the need."""
        name, limit = self.server.container.name, gibibytes(self.limit_bytes)
        return (
            f"`{name}` is OOMKilled at its memory limit of {limit}, {counted(self.restarts, 'restart')}; "
            f"it takes about {gibibytes(self.needs.total_bytes)} of host memory: {self.needs.said}"
        )

    def explain(self) -> list[str]:
        """From the parts to the kill."""
        last = [f"the log ends without an error: {self.last_line[:160]}"] if self.last_line else []
        return [
            f"its host memory adds up to {gibibytes(self.needs.total_bytes)} ({self.needs.said})",
            f"its container may use {gibibytes(self.limit_bytes)}",
            *last,
            "the kernel kills the process at the limit, and the same start is tried again",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A limit that is enough, where a node has that much; else an offload buffer that fits."""
        pod, container = self.server.pod, self.server.container
        wanted, room = whole_gi(self.wanted_bytes), _room_bytes(cluster, self.server)
        if room is None or self.wanted_bytes <= room:
            why = f"needed: {self.needs.said}; the limit was {gibibytes(self.limit_bytes)}"
            values = {"limits.memory": wanted, "requests.memory": wanted}
            change = cluster.edit_each(pod, container.name, "resources", values, why)
            return [change] if change else []
        buffer = self.server.number("kv-offloading-size")
        spare = int(buffer - (self.needs.total_bytes - self.limit_bytes) / GIB) if buffer else 0
        if spare < LEAST_OFFLOAD_GIB:
            return []
        why = f"no node has {wanted} for it; with a buffer of {spare} GiB the rest fits in the limit"
        smaller = cluster.edit_flag(self.server, "kv-offloading-size", str(spare), why)
        return [smaller] if smaller else []

    def advice(self) -> list[str]:
        """What lowers the need."""
        space, name = self.server.pod.namespace, self.server.pod.name
        return [
            f"`kubectl -n {space} top pod {name} --containers` during a load shows the peak",
            "a smaller offload buffer or swap space, and fewer loader threads, lower it",
        ]


def _room_bytes(cluster: Snapshot, server: Server) -> float | None:
    """The most memory that a node this pod may run on has for it; None when no such node was seen."""
    request = quantity(server.container.resources.requests.get("memory")) or 0.0
    free = [
        cluster.free_on(node, "memory") + (request if node.name == server.pod.spec.node_name else 0.0)
        for node in cluster.eligible(server.pod.spec)
        if node.name == server.pod.spec.node_name or cluster.free_on(node, "nvidia.com/gpu") >= server.gpus
    ]
    return max(free, default=None)
