"""The KV cache cannot hold one request of the longest allowed length, so the server refuses to start.

What happens
Unless told otherwise, an engine promises the model's full context. What the weights leave of the GPU has to
hold the KV cache of at least one such request; on a smaller GPU, or with a longer model, it does not. The
check comes after the load, so the loop is an expensive one.

How it shows
Exit 1 after the weights were loaded; `To serve at least one request with the model's max seq len (131072),
16.0 GiB KV cache is needed, which is larger than the available KV cache memory`, in the first traceback;
older engines say `larger than the maximum number of tokens that can be stored in KV cache`.

When we stay silent
No log of the failed start was seen; a start has completed since; the length that is configured now fits
what the log measured; the length is `auto`.

What we propose
`--max-model-len`, the engine's own estimate of what fits, rounded down to whole thousands, where it is set
now.

Sources
vllm-project/vllm#2418, vllm-project/vllm#10517, deepseek-ai/DeepSeek-V2#83; vLLM 0.32 `kv_cache_utils`, a
real capture.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import Said, crashes_saying, hurt_by
from tillerman.patterns.fault import Fault, Layer, outage

_TOO_SMALL = (
    r"max seq len \((?P<length>\d+)\),? \(?(?P<needed>[\d.]+) Gi?B KV cache is needed.*?"
    r"KV cache memory \((?P<free>[\d.]+) Gi?B\)(?:.*?maximum model length is (?P<fits>\d+))?"
    r"|max seq len \((?P<old_length>\d+)\) is larger than the maximum number of tokens that can be stored "
    r"in KV cache \((?P<old_fits>\d+)\)"
)
#: Lengths people write; and the block of the KV cache, for what is shorter. Source: vLLM 0.32
#: (`--block-size` 16 on CUDA).
STEP_TOKENS, BLOCK_TOKENS = 1024, 16


@dataclass(frozen=True, kw_only=True)
class KvTooSmallForMaxLen(Fault):
    """A server whose longest request needs more KV cache than its GPU has left."""

    layer = Layer.ENGINE

    server: Server
    length_tokens: int
    fits_tokens: int
    needed_gib: float | None
    free_gib: float | None
    restarts: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose configured length does not fit what their servers measured, by the least measure."""
        for owner, said in crashes_saying(cluster, _TOO_SMALL):
            worst = min(said, key=_fits_tokens)
            server, fits = worst.crash.server, _fits_tokens(worst)
            if not _too_long(server, fits):
                continue
            group = worst.found.groupdict()
            yield cls(
                subject=owner,
                severity=outage(cluster, owner),
                evidence=worst.evidence,
                hurts=hurt_by(cluster, owner),
                server=server,
                length_tokens=_length_tokens(worst),
                fits_tokens=fits,
                needed_gib=float(group["needed"]) if group["needed"] else None,
                free_gib=float(group["free"]) if group["free"] else None,
                restarts=worst.crash.restarts,
            )

    def summary(self) -> str:
        """The length, what it needs, and what there is."""
        need = f", which needs {self.needed_gib:g} GiB of KV cache;" if self.needed_gib else ";"
        free = f" {self.free_gib:g} GiB are left" if self.free_gib is not None else ""
        return (
            f"`{self.server.container.name}` allows {self.length_tokens:,} tokens a request{need}{free} on "
            f"{self.server.pod.spec.node_name}, enough for {self.fits_tokens:,}; {self.restarts} restarts"
        )

    def explain(self) -> list[str]:
        """From the length to the loop."""
        flag = self.server.flag("max-model-len")
        said = (
            f"--max-model-len is {flag.value}"
            if flag
            else "--max-model-len is not set: the model's full context"
        )
        return [
            f"{said}, {self.length_tokens:,} tokens",
            f"the weights leave the GPU a KV cache of {self.fits_tokens:,} tokens, less than one request",
            "the engine refuses to start with that, exits, and loads the weights again at the next restart",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The longest length that fits, rounded down."""
        step = STEP_TOKENS if self.fits_tokens >= STEP_TOKENS else BLOCK_TOKENS
        length = self.fits_tokens // step * step
        if length <= 0:
            return []
        why = f"the engine measured room for {self.fits_tokens:,} tokens, rounded down to {step}s: {length}"
        change = cluster.edit_flag(self.server, "max-model-len", str(length), why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """Ways to keep the length."""
        return [
            "to keep the length: `--kv-cache-dtype fp8` halves the KV cache, a higher --tensor-parallel-size "
            "spreads it, a node selector keeps the pods on GPUs with more memory",
            "requests longer than the new length are refused with status 400: check what clients send",
        ]


def _length_tokens(said: Said) -> int:
    return int(said.found["length"] or said.found["old_length"])


def _fits_tokens(said: Said) -> int:
    """What fits: the engine's estimate, else in proportion to the memory."""
    found = said.found
    if found["fits"] or found["old_fits"]:
        return int(found["fits"] or found["old_fits"])
    return int(int(found["length"]) * float(found["free"]) / float(found["needed"]))


def _too_long(server: Server, fits_tokens: int) -> bool:
    """Whether the length that is configured now does not fit either; without one it is the model's own."""
    flag = server.flag("max-model-len")
    if flag is None:
        return True
    number = server.number("max-model-len")
    return number is not None and number > fits_tokens
