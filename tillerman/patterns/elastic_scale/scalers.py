"""What faults of autoscaling share: servers behind an autoscaler, their queue, where metrics come from."""

import re
from dataclasses import dataclass
from typing import Any

from tillerman.cluster.model import Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot

#: Requests waiting at each replica from which a server counts as saturated.
#: Source: Workload Variant Autoscaler 0.7, `queueLengthThreshold` 5.
SATURATED_WAITING = 5.0
#: A queue that lost more than this share between two scrapes is a burst that drains by itself.
DRAINING = 0.5
#: A condition that lasts this long is no hiccup of a metrics server: the HPA controller tries every 15 s.
PERSISTENT_S = 600
_NO_METRIC = ("FailedGetExternalMetric", "FailedGetPodsMetric", "FailedGetObjectMetric")
#: KServe's choice of autoscaler. Source: KServe 0.20 `pkg/constants`.
AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"


def target_of(scaler: Object) -> Ref:
    """The workload that an HPA or a ScaledObject scales: a Deployment when it names no kind."""
    path = "spec.scaleTargetRef"
    kind = scaler.text(f"{path}.kind") or "Deployment"
    return Ref(
        scaler.text(f"{path}.apiVersion") or "apps/v1", kind, scaler.namespace, scaler.text(f"{path}.name")
    )


def servers_behind(cluster: Snapshot, scaler: Object) -> tuple[Server, ...]:
    """The model servers on accelerators that it scales, of those that are ready."""
    found = (cluster.server_of(pod) for pod in cluster.pods_of(target_of(scaler)) if pod.ready)
    return tuple(s for s in found if s and (s.gpus or s.pod.spec.resource_claims))


def waiting_each(cluster: Snapshot, servers: tuple[Server, ...]) -> tuple[float, float] | None:
    """Requests waiting at each replica, on average, at the first and the last scrape; None when not seen."""
    series = [cluster.series(server.pod).values("waiting") for server in servers]
    seen = [values for values in series if len(values) > 1]
    if not seen:
        return None
    return sum(v[0] for v in seen) / len(seen), sum(v[-1] for v in seen) / len(seen)


def queues(waiting: tuple[float, float] | None) -> bool:
    """Whether requests wait in numbers, and keep waiting: no burst that is draining."""
    return waiting is not None and min(waiting) >= SATURATED_WAITING and waiting[1] >= DRAINING * waiting[0]


def replicas_now(cluster: Snapshot, hpa: Object) -> int | None:
    """The replicas an HPA counted last, else those its target asks for."""
    counted = hpa.count("status.currentReplicas")
    target = cluster.object_at(target_of(hpa))
    return counted if counted is not None else target.count("spec.replicas") if target else None


def hpa_of(cluster: Snapshot, scaler: Object) -> Object | None:
    """The HPA that does the scaling: the object itself, or the one that KEDA made for a ScaledObject."""
    if scaler.kind == "HorizontalPodAutoscaler":
        return scaler
    return next(iter(cluster.children_of(scaler.ref, "HorizontalPodAutoscaler")), None)


def lacks_metric_for_long(cluster: Snapshot, hpa: Object) -> bool:
    """Whether an HPA has been without a value of a metric that is not CPU or memory, and not for moments."""
    active = hpa.condition("ScalingActive")
    if active is None or active.status != "False" or active.reason not in _NO_METRIC:
        return False
    return (cluster.age_s(active.last_transition_time) or 0.0) >= PERSISTENT_S


def source_of(cluster: Snapshot, scaler: Object) -> Object:
    """The object a person edits for an autoscaler: its InferenceService or ScaledObject, else itself."""
    return cluster.object_at(cluster.owner_of(scaler)) or scaler


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    """A Prometheus that autoscalers ask; `authentication` names a TriggerAuthentication, or is ""."""

    address: str
    auth_modes: str = ""
    authentication: str = ""


def prometheus_for(cluster: Snapshot, namespace: str) -> Prometheus | None:
    """The Prometheus that other ScaledObjects ask, else the one Service that looks like it, else None."""
    for scaler in cluster.all("ScaledObject"):
        for trigger in scaler.items("spec.triggers"):
            metadata = (trigger.get("metadata") or {}) if isinstance(trigger, dict) else {}
            reference = (trigger.get("authenticationRef") or {}) if metadata else {}
            known = _authentication(cluster, scaler, reference, namespace)
            if metadata.get("serverAddress") and known is not None:
                return Prometheus(
                    address=str(metadata["serverAddress"]),
                    auth_modes=str(metadata.get("authModes", "")),
                    authentication=known,
                )
    services = [s for s in cluster.all("Service") if re.search(r"prometheus", s.name) and _serves_9090(s)]
    headed = [s for s in services if s.text("spec.clusterIP") != "None"] or services
    if len(headed) != 1:
        return None
    return Prometheus(address=f"http://{headed[0].name}.{headed[0].namespace}.svc:9090")


def _authentication(
    cluster: Snapshot, scaler: Object, reference: dict[str, Any], namespace: str
) -> str | None:
    """The TriggerAuthentication by which another namespace can ask as this scaler does: "" for none needed.

    None where it needs one and the namespace has none of its own that is the only one.
    """
    if not reference:
        return ""
    if scaler.namespace == namespace and not reference.get("kind"):
        return str(reference.get("name", ""))
    own = cluster.all("TriggerAuthentication", namespace)
    return own[0].name if len(own) == 1 else None


def _serves_9090(service: Object) -> bool:
    return any(isinstance(p, dict) and p.get("port") == 9090 for p in service.items("spec.ports"))  # noqa: PLR2004


def keda_runs(cluster: Snapshot) -> bool:
    """Whether the cluster has KEDA: its objects, its CRD, or its operator."""
    crd = cluster.get("CustomResourceDefinition", "", "scaledobjects.keda.sh")
    return bool(
        cluster.all("ScaledObject") or crd or any("keda-operator" in pod.name for pod in cluster.pods)
    )


def queue_query(cluster: Snapshot, servers: tuple[Server, ...]) -> str:
    """The PromQL that sums what waits at these servers, by the series they expose; "" when none was seen."""
    for server in servers:
        series = cluster.series(server.pod)
        name, samples = series.name_of("waiting"), series.samples("waiting")
        if name:
            model = samples[0].labels.get("model_name") if samples else None
            return f'sum({name}{{model_name="{model}"}})' if model else f"sum({name})"
    return ""
