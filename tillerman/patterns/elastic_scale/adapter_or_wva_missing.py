"""An HPA asks for a custom or external metric, and nothing in the cluster serves that metrics API.

What happens
Pods and Object metrics come from `custom.metrics.k8s.io`, External ones from `external.metrics.k8s.io`, each
served by one adapter (prometheus-adapter, KEDA). Without it, or with it down, the HPA has no value and leaves
the replicas as they are. KServe's scaling by the Workload Variant Autoscaler needs one too.

How it shows
`ScalingActive` False for long, with a message that the API is not registered or not found; an APIService of
that group with `Available` False.

When we stay silent
The adapter answers, only not for this metric (another fault); the condition is minutes old; the HPA reads
CPU or memory from metrics-server.

What we propose
Advice: one adapter for each API, or a KEDA trigger in place of the HPA.

Sources
KServe 0.20 API documentation (`wva_desired_replicas`); llm-d/llm-d-autoscaling#1044; Kubernetes 1.37 HPA
controller and aggregator messages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.model import Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.elastic_scale.adapters import metrics_api_missing
from tillerman.patterns.elastic_scale.scalers import lacks_metric_for_long, source_of, target_of
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_object


@dataclass(frozen=True, kw_only=True)
class AdapterOrWvaMissing(Fault):
    """One metrics API that is not served, and the HPAs that ask it; or one HPA where the API is not seen."""

    layer = Layer.SCALING

    api: str
    hpas: tuple[str, ...]
    said: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """HPAs that ask an API nothing serves, by the APIService that is down or else by themselves."""
        groups: dict[Ref, list[tuple[Object, str]]] = {}
        for hpa in cluster.all("HorizontalPodAutoscaler"):
            api = metrics_api_missing(hpa) if lacks_metric_for_long(cluster, hpa) else ""
            if api:
                down = _down(cluster, api)
                subject = down.ref if down else source_of(cluster, hpa).ref
                groups.setdefault(subject, []).append((hpa, api))
        for subject, found in groups.items():
            active = found[0][0].condition("ScalingActive")
            yield cls(
                subject=subject,
                severity="warning",
                evidence=tuple(_seen(cluster, subject, found)),
                hurts=tuple(dict.fromkeys(_scaled(cluster, hpa) for hpa, _ in found)),
                api=found[0][1],
                hpas=tuple(f"{hpa.namespace}/{hpa.name}" for hpa, _ in found),
                said=active.message if active else "",
            )

    def summary(self) -> str:
        """Which API, and how many HPAs stand still."""
        return (
            f"nothing serves `{self.api}`, which {counted(len(self.hpas), 'HPA')} ask"
            f"{'s' if len(self.hpas) == 1 else ''}: {', '.join(self.hpas[:3])}"
        )

    def explain(self) -> list[str]:
        """From the API to the replicas."""
        return [
            f"`{self.api}` has no adapter that answers",
            f"the HPA says: {self.said}",
            "without a value it leaves the number of replicas as it is",
        ]

    def advice(self) -> list[str]:
        """One adapter for each API."""
        return [
            f"`kubectl get apiservice | grep {self.api}` shows whether it is registered and available",
            "install exactly one adapter for each metrics API; two cannot share one",
            "or scale with a KEDA trigger on Prometheus in place of this HPA",
        ]


def _down(cluster: Snapshot, api: str) -> Object | None:
    """The APIService of a group that is registered and not available."""
    for service in cluster.all("APIService"):
        available = service.condition("Available")
        if service.text("spec.group") == api and available and available.status == "False":
            return service
    return None


def _scaled(cluster: Snapshot, hpa: Object) -> Ref:
    target = cluster.object_at(target_of(hpa))
    return cluster.owner_of(target) if target else target_of(hpa)


def _seen(cluster: Snapshot, subject: Ref, found: list[tuple[Object, str]]) -> Iterator[Evidence]:
    for hpa, _ in found[:3]:
        active = hpa.condition("ScalingActive")
        if active:
            yield seen_object(
                hpa.ref, "status.conditions[ScalingActive]", f"{active.reason}: {active.message}"
            )
    service = cluster.object_at(subject)
    available = service.condition("Available") if service and service.kind == "APIService" else None
    if available:
        yield seen_object(subject, "status.conditions[Available]", f"{available.reason}: {available.message}")
