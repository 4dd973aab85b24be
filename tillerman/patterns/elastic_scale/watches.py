"""What autoscalers ask for: queries and metric names with their place, and which of them are answered."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tillerman.cluster.metrics import NAMES
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.elastic_scale.adapters import plain
from tillerman.patterns.elastic_scale.scalers import source_of, target_of

#: Series of engines, and of endpoint pickers: only these are judged, everything else comes from elsewhere.
_ENGINES = re.compile(r"^(?:vllm|sglang|trtllm|tgi)[:_]")
_PICKERS = ("llm_d_epp_", "inference_pool_", "inference_objective_", "inference_extension_")
_OLDER_PICKERS = ("inference_model_", "llm_d_inference_scheduler_")
_SUFFIXES = ("_bucket", "_count", "_sum", "_total")
#: Renamed series, without the suffix of their kind. Source: vLLM 0.9 to 0.32 (vllm-project/vllm#18354).
RENAMED = {
    "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
    "vllm:gpu_prefix_cache_queries": "vllm:prefix_cache_queries",
    "vllm:gpu_prefix_cache_hits": "vllm:prefix_cache_hits",
    "vllm:time_per_output_token_seconds": "vllm:inter_token_latency_seconds",
    "vllm:time_in_queue_requests": "vllm:request_queue_time_seconds",
    "sglang:num_queued_reqs": "sglang:num_queue_reqs",
}

#: Names of series, each with the model names it was seen with.
Exposed = Mapping[str, frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One query or metric name: the autoscaler, the object it is written in and where.

    `exact` when it is PromQL: names count to the letter there, while adapters spell them in their own way.
    """

    scaler: Object
    source: Object
    path: str
    text: str
    exact: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The series of engines and endpoint pickers that it asks for."""
        bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"|'[^']*'", " ", self.text)
        found = re.findall(r"(?<![\w:])([a-zA-Z_][\w:]*)(?!\s*\()", bare)
        return tuple(dict.fromkeys(n for n in found if _ENGINES.match(n) or n.startswith(_ALL_PICKERS)))

    def asked(self, name: str, label: str) -> tuple[tuple[str, str], ...]:
        """What is asked of a label of a series: operator (`=` or `=~`) and value."""
        found: list[tuple[str, str]] = []
        for labels in re.findall(re.escape(name) + r"\s*\{([^}]*)\}", self.text):
            found += re.findall(rf"\b{label}\s*(=~|=)\s*[\"']([^\"']*)[\"']", labels)
        return tuple(found)


_ALL_PICKERS = (*_PICKERS, *_OLDER_PICKERS)


def watches(cluster: Snapshot) -> Iterator[Watch]:
    """What every autoscaler asks of Prometheus or of an adapter, at the place where a person edits it."""
    for scaler in cluster.all("ScaledObject"):
        source = source_of(cluster, scaler)
        queries = _queries(source) if source.kind in ("ScaledObject", "InferenceService") else {}
        for path, text in queries.items():
            yield Watch(scaler=scaler, source=source, path=path, text=text, exact=True)
    for hpa in cluster.all("HorizontalPodAutoscaler"):
        source = source_of(cluster, hpa)
        for at, metric in enumerate(hpa.items("spec.metrics") if source.ref.key == hpa.ref.key else ()):
            block = {"External": "external", "Pods": "pods"}.get(str(metric.get("type")), "")
            path = f"spec.metrics[{at}].{block}.metric.name"
            if block and hpa.text(path):
                yield Watch(scaler=hpa, source=hpa, path=path, text=hpa.text(path), exact=False)


def _queries(source: Object) -> dict[str, str]:
    listing, inner = (
        ("spec.triggers", "metadata.query")
        if source.kind == "ScaledObject"
        else ("spec.predictor.autoScaling.metrics", "external.metric.query")
    )
    paths = (f"{listing}[{at}].{inner}" for at in range(len(source.items(listing))))
    return {path: source.text(path) for path in paths if source.text(path)}


def exposed_to(cluster: Snapshot, watch: Watch, name: str) -> Exposed:
    """The series that those expose who would answer for a name; empty when none of them was scraped.

    The servers behind the autoscaler, or the endpoint pickers of its namespace.
    """
    pickers = name.startswith(_ALL_PICKERS)
    pods = cluster.pods_in(watch.scaler.namespace) if pickers else cluster.pods_of(target_of(watch.scaler))
    found: dict[str, set[str]] = {}
    for pod in pods:
        series = cluster.series(pod)
        newest = series.scrapes[-1].samples if series else {}
        if not pickers or any(one.startswith(_ALL_PICKERS) for one in newest):
            for one, samples in newest.items():
                found.setdefault(one, set()).update(s.labels.get("model_name", "") for s in samples)
    return {one: frozenset(models) for one, models in found.items()}


def answered(watch: Watch, name: str, exposed: Exposed) -> bool:
    """Whether a series of this name is exposed."""
    return name in exposed or (not watch.exact and plain(name) in {plain(one) for one in exposed})


def successor(watch: Watch, name: str, exposed: Exposed) -> str:
    """The exposed series that says what a name that is not exposed was meant to say; "" when none does."""
    found = next((one for one in _candidates(name) if one in exposed and one != name), "")
    return plain(found) if found and not watch.exact and ":" not in name else found


def _candidates(name: str) -> Iterator[str]:
    colon = re.sub(r"^(vllm|sglang)_", r"\1:", name)
    yield colon
    for one in (colon, renamed(colon)):
        yield one
        yield one.removesuffix("_total") if one.endswith("_total") else f"{one}_total"
    for names in NAMES.values():
        if colon in names:
            yield from names
    for prefix in _ALL_PICKERS:
        if name.startswith(prefix):
            yield from (f"{other}{name.removeprefix(prefix)}" for other in _ALL_PICKERS)


def renamed(name: str) -> str:
    """The newer name of a series, its suffix kept; the name itself when it was not renamed."""
    suffix = next((end for end in _SUFFIXES if name.endswith(end)), "")
    base = name.removesuffix(suffix)
    return f"{RENAMED[base]}{suffix}" if base in RENAMED else name
