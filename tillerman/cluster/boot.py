"""How a model server starts, measured from its log: phases with their seconds, and whether it got there.

Source: log lines of vLLM 0.32 (captured) and the 0.8-0.31 releases (source), SGLang 0.5, TGI 3.3, KServe's
storage initializer.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from tillerman.cluster.logs import Line, Log, clock

#: Phase, and the line that says how many seconds it took.
_PHASES = (
    ("staging", r"Model downloaded in ([\d.]+) seconds|Successfully copied .* in ([\d.]+)"),
    ("download", r"Time spent downloading weights for .*?: ([\d.]+) seconds"),
    ("weights", r"Loading weights took ([\d.]+) seconds"),
    ("compile", r"torch\.compile(?: takes| took) ([\d.]+) s(?: in total)?"),
    ("graphs", r"Graph capturing finished in ([\d.]+) secs"),
    ("engine", r"init engine .* took ([\d.]+) s"),
)
_COMPLETE = (
    r"Application startup complete|The server is fired up and ready to roll|\bConnected$|Uvicorn running on"
)
_PROGRESS = r"(?:Loading (?:safetensors|pt) checkpoint shards|Loading weights)[^\d]*(\d+)% Completed"


@dataclass(frozen=True, kw_only=True)
class Boot:
    """One start, as far as its log tells.

    Seconds by phase in order; seconds from its first to its last line (None without times); whether it
    completed; the share of weights loaded (0..1, None when not printed); its last line.
    """

    phases: tuple[tuple[str, float], ...]
    elapsed_s: float | None
    complete: bool
    weights_loaded: float | None
    last: Line | None

    @property
    def said(self) -> str:
        """The phases as a person reads them: `weights 188 s, compile 96 s`."""
        return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.phases)


def boot_of(log: Log | None, now: datetime) -> Boot | None:
    """The start that a log tells of, or None when the log is not of an inference engine."""
    if log is None:
        return None
    done = log.first(_COMPLETE)
    lines = [line for line in log.lines if done is None or line.number <= done[0].number]
    phases = []
    for name, pattern in _PHASES:
        found = log.first(pattern)
        if found:
            phases.append((name, float(next(group for group in found[1].groups() if group))))
    progress = log.last(_PROGRESS)
    if not phases and not progress and not done and not log.first(r"vLLM|sglang|engine|Loading"):
        return None
    times = [at for line in lines if (at := clock(line, now))]
    return Boot(
        phases=tuple(phases),
        elapsed_s=(times[-1] - times[0]).total_seconds() if len(times) > 1 else None,
        complete=done is not None,
        weights_loaded=_share(phases, progress),
        last=lines[-1] if lines else None,
    )


def _share(phases: list[tuple[str, float]], progress: tuple[Line, re.Match[str]] | None) -> float | None:
    if any(name == "weights" for name, _ in phases):
        return 1.0
    return int(progress[1][1]) / 100 if progress else None
