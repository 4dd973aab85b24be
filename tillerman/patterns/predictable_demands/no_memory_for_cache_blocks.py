"""Weights and activations use up the share of the GPU that a server may take: no KV cache is left.

What happens
An engine may use its share of the GPU's memory, and what weights, activations and graphs leave of that
becomes the KV cache. With a share lowered for a neighbour that is long gone, or a very large batch to
profile, nothing is left.

How it shows
Exit 1 after the weights were loaded; `No available memory for the cache blocks` in the first traceback,
often under a negative `Available KV cache memory`; SGLang says `Not enough memory. Please try to increase
--mem-fraction-static`.

When we stay silent
No log of the failed start was seen; a start has completed since; the share configured now leaves enough by
what the log measured.

What we propose
A higher `--gpu-memory-utilization`, computed from what was missing, where the GPU is not shared; a smaller
`--max-num-batched-tokens` where that is set high; else more GPUs or a smaller model, as advice.

Sources
vllm-project/vllm#2248, vllm-project/vllm#18124; vLLM 0.32 `kv_cache_utils`; SGLang 0.5 `model_runner`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.quantity import GIB
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import Crash, crashes_saying, hurt_by
from tillerman.patterns.fault import Fault, Layer, outage
from tillerman.patterns.predictable_demands.gpu_neighbours import share_of, shares_of
from tillerman.sizing.gpus import gpu_of

_NOTHING_LEFT = (
    r"No available memory for the cache blocks"
    r"|Not enough memory\. Please try to increase --mem-fraction-static"
    r"|Not enough memory to handle \d+ (?:total|prefill) tokens"
)
#: A KV cache worth starting with: a few long requests of a model of 7 to 70 billion parameters.
WANTED_GIB = 4.0
#: The most a server may take of a GPU of its own; beyond it, contexts and fragments run out of memory under
#: load.
MOST = 0.95
#: The share engines take unless told otherwise. Source: vLLM before 0.21; 0.92 since.
USUAL = 0.9
#: Batches above this are set by hand. Source: vLLM 0.32, the default for servers on large GPUs.
USUAL_BATCH_TOKENS = 8192


@dataclass(frozen=True, kw_only=True)
class NoMemoryForCacheBlocks(Fault):
    """A server whose share of the GPU ends before its KV cache begins."""

    layer = Layer.ENGINE

    server: Server
    share: float
    needed_share: float
    batch_tokens: float | None
    shares: int
    left_gib: float | None
    restarts: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose servers found no room, and whose flags leave none now."""
        for owner, said in crashes_saying(cluster, _NOTHING_LEFT):
            worst = min(said, key=lambda one: one.crash.ran.kv_gib or 0.0)
            crash = worst.crash
            needed = _needed_share(cluster, crash)
            share, batch = share_of(crash.server), crash.server.number("max-num-batched-tokens")
            ran_batch = crash.ran.number("max-num-batched-tokens") or batch
            if share >= needed or (batch or 0) < (ran_batch or 0):
                continue
            node = cluster.node(crash.pod.spec.node_name)
            yield cls(
                subject=owner,
                severity=outage(cluster, owner),
                evidence=worst.evidence,
                hurts=hurt_by(cluster, owner),
                server=crash.server,
                share=share,
                needed_share=needed,
                batch_tokens=batch,
                shares=shares_of(cluster, node) if node else 1,
                left_gib=crash.ran.kv_gib,
                restarts=crash.restarts,
            )

    def summary(self) -> str:
        """The share, and what it left."""
        left = f"{self.left_gib:g} GiB" if self.left_gib is not None else "nothing"
        return (
            f"`{self.server.container.name}` may use {self.share:.0%} of the GPU (gpu-memory-utilization), "
            f"which leaves {left} for KV cache blocks; {self.restarts} restarts"
        )

    def explain(self) -> list[str]:
        """From the share to the exit."""
        batch = f", with batches of {self.batch_tokens:g} tokens," if self.batch_tokens else ""
        return [
            f"weights, activations{batch} and graphs take all of the {self.share:.0%} it may use",
            "nothing is left for the KV cache, so it cannot hold even one request",
            "the engine exits, and loads the weights again at the next restart",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A larger share, or a smaller batch; neither where the GPU is simply too small or shared."""
        missing = f"{self.left_gib:g} GiB were left" if self.left_gib is not None else "nothing was left"
        if self.needed_share <= MOST and self.shares == 1:
            why = f"{missing} at {self.share:g}; {self.needed_share:g} leaves about {WANTED_GIB:g} GiB"
            change = cluster.edit_flag(self.server, "gpu-memory-utilization", f"{self.needed_share:g}", why)
        elif (self.batch_tokens or 0) > USUAL_BATCH_TOKENS:
            why = f"{missing}: the profile run of {self.batch_tokens:g} tokens takes it"
            change = cluster.edit_flag(self.server, "max-num-batched-tokens", str(USUAL_BATCH_TOKENS), why)
        else:
            change = None
        return [change] if change else []

    def advice(self) -> list[str]:
        """What else frees memory."""
        return [
            "a smaller --max-num-batched-tokens or --max-num-seqs and `--limit-mm-per-prompt` lower the peak",
            "more GPUs with --tensor-parallel-size, or quantized weights, lower what each GPU holds",
        ]


def _needed_share(cluster: Snapshot, crash: Crash) -> float:
    """The share that would have left a usable KV cache; the usual one where sizes are unknown."""
    ran = crash.ran.memory_share
    if ran is None:
        ran = 0.0 if crash.pod.ref.key in cluster.whatif else share_of(crash.server)
    node = cluster.node(crash.pod.spec.node_name)
    gpu = gpu_of(node) if node else None
    if gpu is None or not gpu.memory_bytes or crash.ran.kv_gib is None:
        return USUAL if ran < USUAL else MOST if ran < MOST else 1.0
    missing = WANTED_GIB - crash.ran.kv_gib
    return math.ceil((ran + missing * GIB / gpu.memory_bytes) * 100) / 100
