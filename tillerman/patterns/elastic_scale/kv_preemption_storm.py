"""More sequences run than the KV cache can hold, so the engine keeps throwing work away to make room.

What happens
Sequences are admitted while there are free blocks and grow with every token. When the cache is full the
engine preempts one: its blocks are freed and everything it had computed is computed again later. With more
sequences than the cache holds at their full length this never ends, and throughput falls as load rises.

How it shows
`vllm:num_preemptions_total` grows steadily while `vllm:kv_cache_usage_perc` stays near 1, on most replicas.

When we stay silent
The counter stands still, or grows by a few; the cache is not full; only a minority of the replicas is hit
(then requests are spread badly); the batch limit is below what the cache holds already.

What we propose
`--max-num-seqs` at four fifths of the sequences that filled the cache: the rest waits in the queue instead of
being computed twice, and results stay the same. A smaller KV type or more memory are named as advice.

Sources
vLLM documentation, "Optimization and Tuning" (preemption); vllm-project/vllm#18115, #25787, #42827.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from tillerman.cluster.change import Change
from tillerman.cluster.enginelog import default_share
from tillerman.cluster.model import Ref
from tillerman.cluster.quantity import quantity
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_metric, seen_object

#: Preemptions each second from which they are a state: six a minute, each a prompt computed anew.
STORM_PER_S = 0.1
#: A cache that is full for scheduling: blocks of the preempted sequence are free for a moment.
FULL = 0.9
#: The share of the sequences that filled the cache which leaves room for them to grow.
ROOM = 0.8
#: vLLM's batch limit where no flag sets it. Source: vLLM 0.32 `EngineArgs`: 1024 from 70 GiB of GPU memory
#: on, A100 apart, else 256; the lower one proves enough here.
DEFAULT_SEQS = 256
#: Compute capability from which GPUs multiply FP8. Source: NVIDIA, Ada Lovelace is 8.9.
FP8_CAPABILITY = 8.9


class Storm(NamedTuple):
    """A server in a storm: preemptions a second, least cache use and most sequences running in the window."""

    server: Server
    per_s: float
    kv_usage: float
    running: float


@dataclass(frozen=True, kw_only=True)
class KvPreemptionStorm(Fault):
    """The servers of one owner that preempt without end."""

    layer = Layer.ENGINE

    storms: tuple[Storm, ...]
    limit: int
    room: int
    waiting: float
    capability: float

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners most of whose measured servers preempt steadily, below a batch limit that allows it."""
        measured: dict[Ref, list[Server]] = {}
        for server in cluster.servers:
            if server.pod.ready and len(cluster.series(server.pod).values("preemptions")) > 1:
                measured.setdefault(cluster.owner_of(server.pod), []).append(server)
        for owner, servers in measured.items():
            storms = [storm for server in servers if (storm := _storm(cluster, server))]
            if not storms or 2 * len(storms) <= len(servers):
                continue
            room = max(1, int(ROOM * min(storm.running for storm in storms)))
            limit = int(storms[0].server.number("max-num-seqs") or DEFAULT_SEQS)
            if limit > room:
                queue = sum(cluster.series(storm.server.pod).value("waiting") or 0.0 for storm in storms)
                yield cls(
                    subject=owner,
                    severity="warning",
                    evidence=(*_seen(cluster, storms), *_configured(storms[0].server)),
                    hurts=(owner, *(storm.server.pod.ref for storm in storms)),
                    storms=tuple(storms),
                    limit=limit,
                    room=room,
                    waiting=queue,
                    capability=_capability(cluster, storms[0].server),
                )

    def summary(self) -> str:
        """Preemptions, sequences, and the limit."""
        minute = 60 * sum(storm.per_s for storm in self.storms)
        running = max(storm.running for storm in self.storms)
        return (
            f"{minute:.0f} preemptions a minute on {len(self.storms)} of its replicas: the KV cache is full"
            f" with {running:.0f} sequences each, up to {self.limit} are admitted, {self.waiting:.0f} wait"
        )

    def explain(self) -> list[str]:
        """From the limit to the work done twice."""
        return [
            f"up to {self.limit} sequences may run at once; the KV cache is full with"
            f" {min(storm.running for storm in self.storms):.0f}",
            "to let one grow the engine preempts another and computes it again from its prompt",
            "so a part of all work is done twice, and latency rises for everybody",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A batch limit that the cache holds."""
        why = f"{ROOM:.0%} of the sequences that filled the KV cache, which leaves them room to grow"
        change = cluster.edit_flag(self.storms[0].server, "max-num-seqs", str(self.room), why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """What gives more cache instead."""
        server = self.storms[0].server
        found = ["more replicas, or a shorter --max-model-len, when the queue that remains is too long"]
        if self.capability >= FP8_CAPABILITY and not server.flag("kv-cache-dtype"):
            found.append(
                "--kv-cache-dtype fp8 doubles the cache on this GPU; check the model's answers with it"
            )
        share = server.number("gpu-memory-utilization")
        usual = default_share(server.container.image)
        if share is not None and share < usual:
            found.append(
                f"--gpu-memory-utilization is {share:g}: up to {usual:g} where nothing shares the GPU"
            )
        return found


def _storm(cluster: Snapshot, server: Server) -> Storm | None:
    series = cluster.series(server.pod)
    rate, usage, running = series.rate("preemptions"), series.values("kv_usage"), series.values("running")
    if rate is None or rate < STORM_PER_S or not usage or min(usage) < FULL or not running:
        return None
    return Storm(server=server, per_s=rate, kv_usage=min(usage), running=max(running))


def _capability(cluster: Snapshot, server: Server) -> float:
    """The compute capability that the node's labels give; 0 when they do not."""
    node = cluster.node(server.pod.spec.node_name)
    labels = node.labels if node else {}
    major = quantity(labels.get("nvidia.com/gpu.compute.major"))
    minor = quantity(labels.get("nvidia.com/gpu.compute.minor"))
    return (major or 0.0) + (minor or 0.0) / 10


def _seen(cluster: Snapshot, storms: list[Storm]) -> Iterator[Evidence]:
    for storm in storms[:3]:
        series, ref = cluster.series(storm.server.pod), str(storm.server.pod.ref)
        for question in ("preemptions", "kv_usage", "running"):
            values = ", then ".join(f"{value:g}" for value in series.values(question))
            yield seen_metric(ref, series.name_of(question) or question, values)


def _configured(server: Server) -> tuple[Evidence, ...]:
    flag = server.flag("max-num-seqs")
    said = flag.value if flag else f"not set (at least {DEFAULT_SEQS})"
    return (seen_object(server.pod.ref, f"spec.containers[{server.container.name}] --max-num-seqs", said),)
