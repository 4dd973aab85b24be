"""An autoscaler's threshold is 0: any load at all asks for all the replicas there may be.

What happens
KEDA divides what it measures by the threshold. With 0 every value above it asks for the maximum, for ever.
KServe takes only `target.value` of an external metric: where `averageValue` alone is set and its webhook did
not refuse, the threshold it writes is 0.

How it shows
`threshold: "0"` in a trigger, or an external metric of an InferenceService on KEDA without `target.value`;
replicas at the maximum whatever the queue.

When we stay silent
The trigger has a threshold above 0; it is of another kind than prometheus; the InferenceService is not on
KEDA.

What we propose
A threshold that suits what the query measures: waiting requests at each replica, or a share of the KV cache.

Sources
KServe 0.20 `reconcilers/keda` and `inference_service_validation.go`; KEDA 2.20 prometheus scaler.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.metrics import NAMES
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import quantity
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.elastic_scale.scalers import (
    AUTOSCALER_CLASS,
    SATURATED_WAITING,
    hpa_of,
    source_of,
    target_of,
)
from tillerman.patterns.fault import Fault, Layer, seen_object

#: The share of the KV cache above which a server is saturated. Source: Workload Variant Autoscaler 0.7.
SATURATED_KV = 0.8


@dataclass(frozen=True, kw_only=True)
class KedaTargetZero(Fault):
    """One autoscaler with a threshold of 0."""

    layer = Layer.SCALING

    source: Object
    path: str
    query: str
    replicas: int | None
    most: int | None

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """ScaledObjects, or the InferenceServices they come from, with a threshold that is 0."""
        for scaler in cluster.all("ScaledObject"):
            source = source_of(cluster, scaler)
            path, query = next(_zeros(source), ("", ""))
            if path:
                target, hpa = cluster.object_at(target_of(scaler)), hpa_of(cluster, scaler)
                value = source.value(path)
                yield cls(
                    subject=source.ref,
                    severity="warning",
                    evidence=(seen_object(source.ref, path, "not set" if value is ABSENT else value),),
                    hurts=(cluster.owner_of(target) if target else target_of(scaler),),
                    source=source,
                    path=path,
                    query=query,
                    replicas=hpa.count("status.currentReplicas") if hpa else None,
                    most=scaler.count("spec.maxReplicaCount"),
                )

    def summary(self) -> str:
        """Where the 0 stands, and the replicas it leads to."""
        now = f", {self.replicas} of at most {self.most} replicas run" if self.replicas and self.most else ""
        return f"the threshold of `{self.query}` is 0{now}"

    def explain(self) -> list[str]:
        """From the 0 to the maximum."""
        return [
            f"`{self.path}` is 0 or not set",
            "what is measured is divided by it, so any value above 0 asks for the maximum of replicas",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A threshold that suits the query; none where it measures something else."""
        after = _threshold(self.query)
        if not after:
            return []
        edit = Edit(path=self.path, before=self.source.value(self.path), after=after)
        why = f"one more replica for each {after} that the query measures"
        return [Change(target=self.source.ref, edits=(edit,), why=why)]

    def advice(self) -> list[str]:
        """Where to read it back."""
        return [
            "with KServe edit the InferenceService; read the ScaledObject that it makes",
            "choose the threshold for one replica: the value at which its latency is still acceptable",
        ]


def _zeros(source: Object) -> Iterator[tuple[str, str]]:
    """The paths of thresholds that are 0, each with its query."""
    if source.kind == "ScaledObject":
        for at, trigger in enumerate(source.items("spec.triggers")):
            metadata: dict[str, Any] = trigger.get("metadata") or {}
            path = f"spec.triggers[{at}].metadata.threshold"
            if trigger.get("type") == "prometheus" and _zero(metadata.get("threshold")):
                yield path, str(metadata.get("query", ""))
    elif source.annotations.get(AUTOSCALER_CLASS) == "keda":
        for at, metric in enumerate(source.items("spec.predictor.autoScaling.metrics")):
            external = metric.get("external") or {}
            target = external.get("target") or {}
            if external and (_zero(target.get("value")) or "value" not in target):
                query = str((external.get("metric") or {}).get("query", ""))
                yield f"spec.predictor.autoScaling.metrics[{at}].external.target.value", query


def _zero(value: Any) -> bool:
    return value is not None and quantity(value) == 0


def _threshold(query: str) -> str:
    """The value at which one replica is saturated, in the unit of the query; "" when unknown."""
    if any(name in query for name in NAMES["waiting"]):
        return f"{SATURATED_WAITING:g}"
    if any(name in query for name in NAMES["kv_usage"]):
        return f"{SATURATED_KV * 100:g}" if "100" in query else f"{SATURATED_KV:g}"
    return ""
