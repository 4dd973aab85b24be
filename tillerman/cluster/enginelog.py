"""What an inference engine's own log says of one start: the settings it ran with, and the memory it measured.

A fault holds these against the flags a pod has now: in a what-if the flags change, the log does not.

Source: log lines of vLLM 0.32 (captured) and the 0.6-0.31 releases (source), SGLang 0.5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tillerman.cluster.commandline import long_name
from tillerman.cluster.logs import Log

#: Lines that print settings: all of them as the engine resolved them, then those that differ from their
#: defaults.
_SETTINGS = (
    (r"with config: (.*)", r"(?:^|[ ,(])(\w+)=('[^']*'|[^,)]+)"),
    (r"server_args=ServerArgs\((.*)\)", r"(?:^|[ ,(])(\w+)=('[^']*'|[^,)]+)"),
    (r"args: Namespace\((.*)\)", r"(?:^|[ ,(])(\w+)=('[^']*'|[^,)]+)"),
    (r"non-default args: \{(.*)\}", r"'(\w+)': ('[^']*'|[^,}]+)"),
)
_RENAMED = {
    "max-seq-len": "max-model-len",
    "tp-size": "tensor-parallel-size",
    "model-path": "model",
    "mem-fraction-static": "gpu-memory-utilization",
    "context-length": "max-model-len",
}
_WEIGHTS = (
    r"[Mm]odel loading took ([\d.]+) Gi?B",
    r"Loading model weights took ([\d.]+) Gi?B",
    r"Load weight end\..*mem usage=([\d.]+) GB",
)
_KV = r"Available KV cache memory: (-?[\d.]+) Gi?B"
_SHARDS = r"checkpoint shards:.*\| \d+/(\d+) \["
#: vLLM's default share of a GPU's memory, from the release named on. Source: vLLM 0.32 `--help`, domain
#: notes on 0.9.
_DEFAULT_SHARES = (((0, 21), 0.92), ((0, 0), 0.9))


@dataclass(frozen=True, kw_only=True)
class EngineLog:
    """One start: settings by the long name of their flag; GiB on each GPU; None for what was not printed."""

    settings: Mapping[str, str]
    version: tuple[int, int] | None
    weights_gib: float | None
    kv_gib: float | None
    shards: int | None

    def number(self, name: str) -> float | None:
        """The number a setting had, or None."""
        try:
            return float(self.settings.get(name, ""))
        except ValueError:
            return None

    @property
    def tensor_parallel(self) -> int:
        """GPUs that one engine spread each layer over; 1 when the log does not say."""
        return int(self.number("tensor-parallel-size") or 1)

    @property
    def memory_share(self) -> float | None:
        """The share of the GPU's memory it ran with, set or by default; None when none was printed."""
        if not self.settings:
            return None
        return self.number("gpu-memory-utilization") or _share_since(self.version or (0, 0))


def default_share(image: str) -> float:
    """The share of a GPU's memory that vLLM of this image reserves by default; the newest's without a tag."""
    tag = re.search(r":v?(\d+)\.(\d+)", image)
    return _share_since((int(tag[1]), int(tag[2])) if tag else (99, 0))


def _share_since(version: tuple[int, int]) -> float:
    return next(share for since, share in _DEFAULT_SHARES if version >= since)


def engine_log(log: Log | None) -> EngineLog:
    """What a log says; everything unknown when there is none."""
    version = log.first(r"(?:version |\(v)(\d+)\.(\d+)\.\d+") if log else None
    weights = next((found for pattern in _WEIGHTS if log and (found := log.first(pattern))), None)
    kv, shards = (log.first(_KV), log.first(_SHARDS)) if log else (None, None)
    return EngineLog(
        settings=_settings(log) if log else {},
        version=(int(version[1][1]), int(version[1][2])) if version else None,
        weights_gib=float(weights[1][1]) if weights else None,
        kv_gib=float(kv[1][1]) if kv else None,
        shards=int(shards[1][1]) if shards else None,
    )


def _settings(log: Log) -> dict[str, str]:
    found: dict[str, str] = {}
    for line, setting in _SETTINGS:
        text = log.first(line)
        for name, value in re.findall(setting, text[1][1]) if text else ():
            plain = long_name(f"--{name}")
            found[_RENAMED.get(plain, plain)] = value.strip("'\" ")
    return found
