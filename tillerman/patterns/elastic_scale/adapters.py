"""Which metrics the adapters of a cluster give to HPAs: custom.metrics.k8s.io and external.metrics.k8s.io."""

import re

from tillerman.cluster.metrics import NAMES
from tillerman.cluster.objects import Object
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot

#: Workloads that serve custom metrics. Sources: charts of prometheus-adapter and of Google's adapter.
_ADAPTERS = re.compile(r"prometheus-adapter|custom-metrics-(?:stackdriver-)?adapter|k8s-prometheus-adapter")

#: The HPA controller's words for an API that is not there. Source: Kubernetes 1.37, its custom and external
#: metrics clients.
_NO_API = re.compile(
    r"no custom metrics API|no external metrics API"
    r"|(?:custom|external) metrics API: the server (?:could not find|is currently unable)"
    r"|(?:custom|external) metrics API: no matches for kind"
)


def metrics_api_missing(hpa: Object) -> str:
    """The metrics API that an HPA asked and nothing serves, as its condition says; "" otherwise."""
    active = hpa.condition("ScalingActive")
    if active is None or active.status != "False" or not _NO_API.search(active.message):
        return ""
    return f"{'external' if 'external metrics API' in active.message else 'custom'}.metrics.k8s.io"


def plain(name: str) -> str:
    """A series name as adapters' rules spell it: with `_` where Prometheus has a colon."""
    return name.replace(":", "_")


def pods_metric_named(cluster: Snapshot, servers: tuple[Server, ...]) -> str:
    """The name under which HPAs can ask for a server's waiting requests; "" where no adapter was seen.

    As another HPA asks, else as an adapter's rules write it, else the series name as it stands.
    """
    waiting = {plain(name) for name in NAMES["waiting"]}
    for hpa in cluster.all("HorizontalPodAutoscaler"):
        for name in pods_metrics(hpa):
            if plain(name) in waiting:
                return name
    adapters = [w for w in cluster.all("Deployment") if _ADAPTERS.search(w.name)]
    registered = cluster.get("APIService", "", "v1beta1.custom.metrics.k8s.io") or cluster.get(
        "APIService", "", "v1beta2.custom.metrics.k8s.io"
    )
    if not adapters and registered is None:
        return ""
    for adapter in adapters:
        for config in cluster.all("ConfigMap", adapter.namespace):
            for text in config.table("data").values():
                renamed = re.search(r"as:\s*[\"']?([\w:]*num_requests_waiting)", str(text))
                if renamed:
                    return renamed[1]
    names = (cluster.series(server.pod).name_of("waiting") for server in servers)
    return next((name for name in names if name), "")


def pods_metrics(hpa: Object) -> tuple[str, ...]:
    """The names of the Pods metrics that an HPA asks for."""
    blocks = (metric.get("pods") or {} for metric in hpa.items("spec.metrics") if isinstance(metric, dict))
    return tuple(str(b["metric"]["name"]) for b in blocks if isinstance(b.get("metric"), dict))
