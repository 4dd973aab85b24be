"""Scrapes of a pod or a node: values, rates, and the same question under each engine's own series name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

#: One question, the series that answer it: newest name first. Sources: vLLM 0.32 and its V0 engine, SGLang
#: 0.5, TGI 3.3,
#: TensorRT-LLM (GIE proposal 003), the llm-d router's EPP 0.10 and its older prefixes.
NAMES: dict[str, tuple[str, ...]] = {
    "waiting": (
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "tgi_queue_size",
        "trtllm_num_requests_waiting",
    ),
    "running": (
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "tgi_batch_current_size",
        "trtllm_num_requests_running",
    ),
    "kv_usage": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
        "trtllm_kv_cache_utilization",
    ),
    "preemptions": ("vllm:num_preemptions_total",),
    "generated": ("vllm:generation_tokens_total", "sglang:generation_tokens_total"),
    "prompted": ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total"),
    "steps": ("vllm:iteration_tokens_total_count",),
    "finished": ("vllm:request_success_total", "tgi_request_success", "sglang:num_requests_total"),
    "cache_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "cache_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "failed_transfers": ("vllm:nixl_num_failed_transfers_total",),
    "expired_transfers": ("vllm:nixl_num_kv_expired_reqs_total",),
    "epp_ready": ("llm_d_epp_ready_endpoints", "inference_pool_ready_pods"),
    "epp_errors": ("llm_d_epp_request_error_total", "inference_objective_request_error_total"),
}


class Sample(NamedTuple):
    """One value of a series, with its labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """One reading: its time in unix seconds, and the samples of each series."""

    at_s: float
    samples: Mapping[str, tuple[Sample, ...]]

    def total(self, name: str, labels: Mapping[str, str]) -> float | None:
        """The sum over the samples of a series that carry these labels, or None when there is none."""
        found = [
            sample.value
            for sample in self.samples.get(name, ())
            if all(sample.labels.get(key) == value for key, value in labels.items())
            and not math.isnan(sample.value)
        ]
        return sum(found) if found else None


def scrape(text: str, at_s: float) -> Scrape:
    """Reads the Prometheus text format or OpenMetrics.

    Raises: ValueError when the text is neither.
    """
    samples: dict[str, list[Sample]] = {}
    read = openmetrics if text.rstrip().endswith("# EOF") else prometheus
    for family in read(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(Sample(sample.labels, sample.value))
    return Scrape(at_s=at_s, samples={name: tuple(found) for name, found in samples.items()})


@dataclass(frozen=True, kw_only=True)
class Series:
    """The scrapes of one pod or node, oldest first; a question it cannot answer is None, never zero."""

    scrapes: tuple[Scrape, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.scrapes)

    def has(self, question: str) -> bool:
        """Whether the newest scrape answers this question: a key of NAMES, or a series name."""
        return self.name_of(question) is not None

    def name_of(self, question: str) -> str | None:
        """The series name under which this server answers the question."""
        newest = self.scrapes[-1].samples if self.scrapes else {}
        return next((name for name in NAMES.get(question, (question,)) if name in newest), None)

    def value(self, question: str, **labels: str) -> float | None:
        """The newest value, summed over the samples with these labels."""
        name = self.name_of(question)
        return self.scrapes[-1].total(name, labels) if name else None

    def samples(self, question: str) -> tuple[Sample, ...]:
        """The newest samples, one for each set of labels."""
        name = self.name_of(question)
        return self.scrapes[-1].samples[name] if name else ()

    def values(self, question: str, **labels: str) -> tuple[float, ...]:
        """The value in each scrape that has it, oldest first."""
        name = self.name_of(question)
        found = (scrape.total(name, labels) for scrape in self.scrapes) if name else ()
        return tuple(value for value in found if value is not None)

    def increase(self, question: str, **labels: str) -> float | None:
        """How much a counter grew from the first scrape to the last.

        None with one scrape or after a reset.
        """
        found = self.values(question, **labels)
        return found[-1] - found[0] if len(found) > 1 and found[-1] >= found[0] else None

    def rate(self, question: str, **labels: str) -> float | None:
        """How much a counter grows each second."""
        grown = self.increase(question, **labels)
        return grown / self.window_s if grown is not None and self.window_s > 0 else None

    @cached_property
    def window_s(self) -> float:
        """Seconds between the first scrape and the last."""
        return self.scrapes[-1].at_s - self.scrapes[0].at_s if self.scrapes else 0.0

    def quantile(self, histogram: str, q: float) -> float | None:
        """A quantile of a histogram's growth over the window (of its whole life with one scrape).

        By linear interpolation.
        """
        buckets: dict[float, float] = {}
        for sign, reading in (
            (1, self.scrapes[-1:]),
            (-1, self.scrapes[:1] if len(self.scrapes) > 1 else ()),
        ):
            for one in reading:
                for sample in one.samples.get(f"{histogram}_bucket", ()):
                    bound = float(sample.labels.get("le", "nan"))
                    buckets[bound] = buckets.get(bound, 0.0) + sign * sample.value
        ordered = sorted(buckets.items())
        if not ordered or ordered[-1][1] <= 0:
            return None
        rank, lower, below = q * ordered[-1][1], 0.0, 0.0
        for bound, count in ordered:
            if count >= rank:
                inside = count - below
                return (
                    lower
                    if math.isinf(bound) or inside <= 0
                    else lower + (bound - lower) * (rank - below) / inside
                )
            lower, below = bound, count
        return None


NO_SERIES = Series()
