"""The metrics of a vLLM server that serves: ten recorded minutes, played on from when the pod became ready.

`manifests/vllm.prom` has the names, labels and bucket bounds that vLLM 0.32.0 prints, with numbers of our
own: two requests a second for ten minutes. Counters and histograms grow with the pod's age, so that two
scrapes give rates; annotations of the pod say how busy it is: `lab/running`, `lab/waiting`, `lab/kv` (0 to
1), `lab/rate` (1 is the recorded two requests a second; 0 stands still), `lab/preemptions-per-minute`.
"""

import re
from functools import cache
from typing import Any

from .needs import flag_of, main_of, moment, need
from .places import MANIFESTS

Object = dict[str, Any]
RECORDED_S = 600
BLOCK_TOKENS = 16
QUEUE_SHIFT = 5
"""Buckets by which waiting times move up when requests wait: from tens of milliseconds to seconds."""
QUEUED = (
    "vllm:time_to_first_token_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:e2e_request_latency_seconds",
)
SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:0-9]+)(?P<labels>\{.*\})? (?P<value>\S+)$")


def scrape(pod: Object, served: str, now: float) -> str:
    """What `/metrics` of a pod's server says at a moment (Unix seconds), under its served model name."""
    start = moment(_ready_since(pod) or pod["status"].get("startTime"))
    age = max(now - start.timestamp(), 0.0) if start else 0.0
    rate = need(pod, "rate", 1)
    factor = age * rate / RECORDED_S if rate else 1.0
    waiting = need(pod, "waiting", 0)
    set_to = {
        "process_start_time_seconds": now - age,
        "vllm:num_requests_running": need(pod, "running", 3),
        "vllm:num_requests_waiting": waiting,
        'vllm:num_requests_waiting_by_reason{reason="capacity"}': waiting,
        "vllm:kv_cache_usage_perc": need(pod, "kv", 0.18),
        "vllm:num_preemptions_total": float(int(need(pod, "preemptions-per-minute", 0) * age / 60)),
    }
    lines = [_line(line, kind, factor, set_to) for line, kind in _recorded()]
    return _named("\n".join(_queued(lines) if waiting else lines), pod, served)


@cache
def _recorded() -> tuple[tuple[str, str], ...]:
    """The recorded lines, each with the type of its metric; the type of a comment is empty."""
    found, kind = [], ""
    for line in (MANIFESTS / "vllm.prom").read_text().splitlines():
        if line.startswith("# TYPE"):
            kind = line.split()[-1]
        found.append((line, "" if line.startswith("#") else kind))
    return tuple(found)


def _line(line: str, kind: str, factor: float, set_to: dict[str, float]) -> str:
    sample = SAMPLE.match(line) if kind else None
    if not sample:
        return line
    value, labels = float(sample["value"]), sample["labels"] or ""
    for key, new in set_to.items():
        name, _, label = key.partition("{")
        if sample["name"] == name and label.rstrip("}") in labels:
            return f"{name}{labels} {new}"
    if kind in ("counter", "histogram"):
        value *= factor
        value = value if sample["name"].endswith("_sum") else float(int(value))
    return f"{sample['name']}{labels} {value}"


def _queued(lines: list[str]) -> list[str]:
    """The lines with the histograms of waiting moved towards longer waits."""
    shifted = list(lines)
    for name in QUEUED:
        at = [i for i, line in enumerate(lines) if line.startswith(f"{name}_bucket") and '"+Inf"' not in line]
        values = [lines[i].rpartition(" ")[2] for i in at]
        moved = ["0.0"] * QUEUE_SHIFT + values[: len(values) - QUEUE_SHIFT]
        for i, value in zip(at, moved, strict=True):
            shifted[i] = f"{lines[i].rpartition(' ')[0]} {value}"
        for i, line in enumerate(lines):
            if line.startswith(f"{name}_sum"):
                head, _, value = line.rpartition(" ")
                shifted[i] = f"{head} {float(value) * 2**QUEUE_SHIFT}"
    return shifted


def _named(text: str, pod: Object, served: str) -> str:
    tokens = int(need(pod, "kv-tokens", 262_144))
    length = int(flag_of(main_of(pod), "max-model-len") or need(pod, "model-len", 32_768))
    words = {
        '"MODEL"': f'"{served}"',
        "KV_CONCURRENCY": f"{tokens / length:.2f}",
        "KV_TOKENS": str(tokens),
        "KV_BLOCKS": str(tokens // BLOCK_TOKENS),
    }
    for word, meant in words.items():
        text = text.replace(word, meant)
    return f"{text}\n"


def _ready_since(pod: Object) -> str | None:
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return str(condition["lastTransitionTime"])
    return None
