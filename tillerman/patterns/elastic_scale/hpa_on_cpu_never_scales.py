"""The autoscaler watches CPU, which says nothing about a GPU server's queue: requests wait, nothing scales.

What happens
A model server is short of KV cache and batch slots long before it is short of CPU: its API process keeps one
core busy however long the queue is. An HPA on CPU or memory, which is what KServe makes by default, therefore
sees a calm workload and keeps the smallest number of replicas.

How it shows
Requests wait at every replica in scrape after scrape while the HPA reads a low use of CPU, wants no more
replicas than it has, and is allowed more.

When we stay silent
Nothing waits, or a burst drains; the HPA wants more replicas already or is at its maximum; it also watches
something else; the servers have no accelerator; the queue was not measured twice.

What we propose
With KEDA and a Prometheus that is known, a trigger on waiting requests: on the InferenceService (autoscaler
class and `autoScaling`) or the ScaledObject. On a plain HPA a Pods metric, where an adapter serves one. Else
advice.

Sources
llm-d/llm-d-autoscaling#947 (a CPU HPA stayed at 1 while 430 requests waited); KServe 0.20 defaults and KEDA
reconciler; Workload Variant Autoscaler 0.7 thresholds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import counted
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.elastic_scale.adapters import pods_metric_named
from tillerman.patterns.elastic_scale.scalers import (
    AUTOSCALER_CLASS,
    SATURATED_WAITING,
    Prometheus,
    keda_runs,
    prometheus_for,
    queue_query,
    queues,
    replicas_now,
    servers_behind,
    source_of,
    target_of,
    waiting_each,
)
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_metric, seen_object

#: Metric types of an HPA, of `spec.predictor.autoScaling` and triggers of KEDA that are about CPU or memory.
_RESOURCES = ("Resource", "ContainerResource", "cpu", "memory")
_SCALING = "spec.predictor.autoScaling"


@dataclass(frozen=True, kw_only=True)
class HpaOnCpuNeverScales(Fault):
    """A queue at servers that are scaled by CPU or memory alone."""

    layer = Layer.SCALING

    hpa: Object
    servers: tuple[Server, ...]
    waiting: tuple[float, float]
    replicas: int
    most: int
    reads: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """HPAs on resources alone whose servers queue while there is room for replicas."""
        for hpa in cluster.all("HorizontalPodAutoscaler"):
            if not _on_resources(hpa) or not _on_resources(source_of(cluster, hpa)):
                continue
            servers = servers_behind(cluster, hpa)
            waiting = waiting_each(cluster, servers)
            replicas, most = replicas_now(cluster, hpa), hpa.count("spec.maxReplicas")
            wanted = hpa.count("status.desiredReplicas")
            if waiting is None or not queues(waiting) or replicas is None or most is None:
                continue
            if replicas < most and (wanted is None or wanted <= replicas):
                owner = source_of(cluster, hpa).ref
                target = cluster.object_at(target_of(hpa))
                yield cls(
                    subject=owner,
                    severity="warning",
                    evidence=(*_seen(hpa), *_queue(cluster, servers)),
                    hurts=(cluster.owner_of(target) if target else target_of(hpa),),
                    hpa=hpa,
                    servers=servers,
                    waiting=waiting,
                    replicas=replicas,
                    most=most,
                    reads=_reads(hpa),
                )

    def summary(self) -> str:
        """What waits, what the HPA reads, and the replicas it keeps."""
        return (
            f"{self.waiting[1]:.0f} requests wait at each of {counted(len(self.servers), 'server')} while the"
            f" HPA `{self.hpa.name}` watches only {self.reads} and stays at {self.replicas} of {self.most}"
            " replicas"
        )

    def explain(self) -> list[str]:
        """From the metric to the queue."""
        return [
            f"the HPA scales on {self.reads}; a GPU server runs out of KV cache and batch slots, not of CPU",
            f"so it wants {self.replicas} replicas, though {self.most} are allowed",
            f"waiting requests at each replica: {self.waiting[0]:.0f}, then {self.waiting[1]:.0f}",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A metric that follows the queue, on the object a person edits."""
        source = source_of(cluster, self.hpa)
        prometheus = prometheus_for(cluster, source.namespace) if keda_runs(cluster) else None
        query = queue_query(cluster, self.servers)
        if source.kind == "HorizontalPodAutoscaler":
            edits = _on_pods_metric(source, pods_metric_named(cluster, self.servers))
        elif prometheus and query:
            trigger = _trigger(prometheus, query)
            edits = (
                _by_keda(source, prometheus, query)
                if source.kind == "InferenceService"
                else (Edit(path="spec.triggers", before=source.value("spec.triggers"), after=[trigger]),)
            )
        else:
            edits = ()
        why = f"{SATURATED_WAITING:g} requests waiting at each replica ask for one more; CPU does not follow"
        return [Change(target=source.ref, edits=edits, why=why)] if edits else []

    def advice(self) -> list[str]:
        """How to scale on the queue where no change could be computed, and what it costs."""
        space, name = self.hpa.namespace, self.hpa.name
        return [
            f"`kubectl -n {space} get hpa {name}` shows use and replicas; scale on waiting requests instead",
            "with KEDA a ScaledObject with a prometheus trigger on the queue replaces this HPA",
            "set `scaleUp.stabilizationWindowSeconds` to the time a replica takes to get ready",
        ]


def _on_resources(scaler: Object) -> bool:
    """Whether CPU or memory is all that an autoscaler, or the object it is made from, looks at."""
    if scaler.kind == "HorizontalPodAutoscaler":
        kinds = [m.get("type") for m in scaler.items("spec.metrics") if isinstance(m, dict)]
    elif scaler.kind == "ScaledObject":
        kinds = [t.get("type") for t in scaler.items("spec.triggers") if isinstance(t, dict)]
    elif scaler.kind == "InferenceService":
        if scaler.annotations.get(AUTOSCALER_CLASS, "hpa") in ("none", "external"):
            return False
        kinds = [m.get("type") for m in scaler.items(f"{_SCALING}.metrics") if isinstance(m, dict)]
    else:
        return False
    return all(kind in _RESOURCES for kind in kinds)


def _reads(hpa: Object) -> str:
    """What an HPA looks at, with the value it read last: `cpu 12 % (target 80 %)`."""
    said = []
    for metric in hpa.items("spec.metrics") or [{}]:
        block = metric.get("resource") or metric.get("containerResource") or {}
        name = str(block.get("name", "cpu"))
        now = next(
            (
                (m.get("resource") or {}).get("current", {}).get("averageUtilization")
                for m in hpa.items("status.currentMetrics")
                if isinstance(m, dict) and (m.get("resource") or {}).get("name") == name
            ),
            None,
        )
        target = (block.get("target") or {}).get("averageUtilization")
        said.append(f"{name} {now} % (target {target} %)" if now is not None and target else name)
    return " and ".join(said)


def _seen(hpa: Object) -> tuple[Evidence, ...]:
    found = [seen_object(hpa.ref, "spec.metrics", _reads(hpa))]
    for field in ("status.currentReplicas", "status.desiredReplicas", "spec.maxReplicas"):
        if hpa.count(field) is not None:
            found.append(seen_object(hpa.ref, field, hpa.count(field)))
    return tuple(found)


def _queue(cluster: Snapshot, servers: tuple[Server, ...]) -> Iterator[Evidence]:
    for server in servers[:4]:
        series = cluster.series(server.pod)
        values = ", then ".join(f"{value:.0f}" for value in series.values("waiting"))
        if values:
            yield seen_metric(str(server.pod.ref), series.name_of("waiting") or "waiting", values)


def _by_keda(service: Object, prometheus: Prometheus, query: str) -> tuple[Edit, ...]:
    """An InferenceService on KEDA; `scaleMetric` and its target go, KServe refuses them with KEDA."""
    metric = {"backend": "prometheus", "serverAddress": prometheus.address, "query": query}
    external: dict[str, Any] = {
        "metric": metric,
        "target": {"type": "Value", "value": f"{SATURATED_WAITING:g}"},
    }
    if prometheus.authentication:
        external["authenticationRef"] = {
            "authModes": prometheus.auth_modes,
            "authenticationRef": {"name": prometheus.authentication},
        }
    after: dict[str, Any] = {
        f'metadata.annotations["{AUTOSCALER_CLASS}"]': "keda",
        f"{_SCALING}.metrics": [{"type": "External", "external": external}],
    }
    for field in ("scaleMetric", "scaleMetricType", "scaleTarget"):
        if service.value(f"spec.predictor.{field}") is not ABSENT:
            after[f"spec.predictor.{field}"] = ABSENT
    return tuple(Edit(path=path, before=service.value(path), after=value) for path, value in after.items())


def _trigger(prometheus: Prometheus, query: str) -> dict[str, Any]:
    metadata = {"serverAddress": prometheus.address, "query": query, "threshold": f"{SATURATED_WAITING:g}"}
    trigger: dict[str, Any] = {"type": "prometheus", "metricType": "AverageValue", "metadata": metadata}
    if prometheus.authentication:
        metadata["authModes"] = prometheus.auth_modes
        trigger["authenticationRef"] = {"name": prometheus.authentication}
    return trigger


def _on_pods_metric(hpa: Object, name: str) -> tuple[Edit, ...]:
    """A plain HPA on the queue of each pod, by the name that the adapter gives it."""
    if not name:
        return ()
    pods = {
        "metric": {"name": name},
        "target": {"type": "AverageValue", "averageValue": f"{SATURATED_WAITING:g}"},
    }
    after = [{"type": "Pods", "pods": pods}]
    return (Edit(path="spec.metrics", before=hpa.value("spec.metrics"), after=after),)
