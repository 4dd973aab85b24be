"""An autoscaler may ask for more replicas than the cluster has GPUs for; the last ones wait for ever.

What happens
The maximum of an autoscaler says nothing about the cluster. Where it exceeds what the nodes hold, a peak
leaves Pending pods behind, and other workloads of lower priority may lose their GPUs.

How it shows
Pods of a scaled workload Pending for GPUs, and a maximum above the GPUs of all nodes that its pods may use.

When we stay silent
No pod waits; the nodes hold as many GPUs as the maximum needs; an autoscaler of nodes makes more of them.

What we propose
Nothing: this is worth knowing, and blames nobody. The maximum that fits is named.

Sources
llm-d/llm-d-autoscaling#1213; KEDA 2.20 and HPA documentation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.model import Pod
from tillerman.cluster.placement import gpus_of
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.elastic_scale.scalers import source_of, target_of
from tillerman.patterns.fault import Fault, Layer, seen_object


@dataclass(frozen=True, kw_only=True)
class MaxReplicasBeyondGpus(Fault):
    """One HPA whose maximum does not fit the nodes."""

    layer = Layer.SCALING

    hpa: str
    most: int
    fit: int
    waiting: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """HPAs with Pending pods and a maximum above what all nodes together could hold."""
        for hpa in cluster.all("HorizontalPodAutoscaler"):
            most = hpa.count("spec.maxReplicas")
            pods = {pod.ref.key for pod in cluster.pods_of(target_of(hpa))}
            waiting = [pod for pod, _ in cluster.troubled_as("unschedulable") if pod.ref.key in pods]
            fit = _fit(cluster, waiting[0]) if waiting else None
            if most is not None and fit and most > fit:
                yield cls(
                    subject=source_of(cluster, hpa).ref,
                    severity="info",
                    evidence=(seen_object(hpa.ref, "spec.maxReplicas", most),),
                    hpa=hpa.name,
                    most=most,
                    fit=fit,
                    waiting=len(waiting),
                )

    def summary(self) -> str:
        """The maximum, and what would fit."""
        return (
            f"the HPA `{self.hpa}` may ask for {self.most} replicas, the GPUs of all nodes its pods may use"
            f" hold {self.fit}; {self.waiting} pending"
        )

    def explain(self) -> list[str]:
        """From the maximum to the wait."""
        return [
            f"at most {self.fit} replicas fit the nodes that labels and taints allow, other pods left aside",
            f"the maximum is {self.most}, so the last ones stay Pending",
        ]


def _fit(cluster: Snapshot, pod: Pod) -> int | None:
    """How many such pods the allocatable GPUs of all its nodes hold; None for pods without GPUs."""
    asked = gpus_of(pod.spec)
    if not asked:
        return None
    offers = [cluster.allocatable_gpus(node) for node in cluster.eligible(pod.spec)]
    return sum(min(offer.get(name, 0) // count for name, count in asked.items()) for offer in offers)
