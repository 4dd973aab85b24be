"""Pods stay Pending because every GPU they could use is taken, or no node has as many as one pod asks for.

What happens
A pod gets all its GPUs on one node or waits. When the nodes that its labels and taints allow have handed out
theirs, or none of them holds as many as its containers ask for together, it waits until something else ends.

How it shows
`Insufficient nvidia.com/gpu` from every node that the pod may use; the requests of the running pods add up
to what the nodes offer; an autoscaler that says `max node group size reached`, or none at all.

When we stay silent
Enough GPUs are free but scattered, hidden by a broken device plugin, tainted, not selected, or offered under
another name (faults of their own); an older pod of the same rollout or one that is being deleted holds them;
an autoscaler is adding a node; the pods are held by a gate, a quota or Kueue; it has waited for minutes
only. Placeholders and batch pods of a negative priority wait by design, others for a node that is not ready:
they are only noted.

What we propose
Fewer GPUs where the server asks for more than its parallelism uses, or than a node has and the weights need;
as many replicas (or as high a maximum of the autoscaler) as have a place, where some run already; else
advice, for more GPUs are bought, not configured.

Sources
NVIDIA/k8s-device-plugin#33, #71, #176, #430; kube-scheduler 1.37 NodeResourcesFit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.model import Node, Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.asking import fewer_gpus, idle_gpus, narrower
from tillerman.patterns.automated_placement.waiting import Wait, waits_for
from tillerman.patterns.fault import Evidence, Fault, Layer, Severity, outage, seen_event, seen_object

#: Where each kind says how many replicas there shall be, when one pod is one replica.
_REPLICAS = {
    "Deployment": "spec.replicas",
    "StatefulSet": "spec.replicas",
    "LLMInferenceService": "spec.replicas",
    "InferenceService": "spec.predictor.minReplicas",
}
#: Where each kind says how many an autoscaler may ask for.
_MOST = {
    "ScaledObject": "spec.maxReplicaCount",
    "HorizontalPodAutoscaler": "spec.maxReplicas",
    "InferenceService": "spec.predictor.maxReplicas",
    "LLMInferenceService": "spec.scaling.maxReplicas",
}


@dataclass(frozen=True, kw_only=True)
class InsufficientGpu(Fault):
    """Pending pods of one owner, and the nodes whose GPUs are all in use."""

    layer = Layer.PLACEMENT

    wait: Wait
    offered: int
    largest: int
    placed: int
    scaled: bool
    idle: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose Pending pods find no free GPU on any node they may use."""
        for wait in waits_for(cluster, "full", "oversized", "down"):
            placed = len([p for p in cluster.pods_of(wait.owner) if p.spec.node_name and not p.finished])
            if not _content(cluster, wait, placed):
                offers = [cluster.allocatable_gpus(node).get(wait.resource, 0) for node in wait.nodes]
                yield cls(
                    subject=wait.owner,
                    severity=_severity(cluster, wait),
                    evidence=_evidence(cluster, wait),
                    hurts=(wait.owner, *(pod.ref for pod in wait.pods)),
                    wait=wait,
                    offered=sum(offers),
                    largest=max(offers),
                    placed=placed,
                    scaled=bool(cluster.scalers_of(wait.owner)),
                    idle=idle_gpus(cluster, wait.pod),
                )

    def summary(self) -> str:
        """How many are asked for, and how many there are."""
        wait = self.wait
        asks = f"{counted(len(wait.pods), 'Pending pod')}, each asking for {wait.count} `{wait.resource}`"
        if wait.reason == "oversized":
            return f"{asks}: no node that it may use has more than {self.largest}"
        return (
            f"{asks}: all {self.offered} of the {counted(len(wait.nodes), 'node')} that it may use are taken"
        )

    def explain(self) -> list[str]:
        """From the GPUs to the wait."""
        names = ", ".join(node.name for node in self.wait.nodes[:4])
        if self.wait.reason == "oversized":
            first = f"the largest of the nodes it may use ({names}) has {self.largest} GPUs"
            return [first, "GPUs of two nodes do not add up for one pod", "so no node can ever take it"]
        found = [f"the pods that run on {names} have requested all {self.offered} GPUs there"]
        if self.scaled:
            found.append("an autoscaler asks for more replicas than the GPUs there are")
        return [*found, "so the scheduler places this one nowhere until another one ends or a node joins"]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """Only the GPUs that are used, else only the replicas that have a place."""
        if self.idle:
            return fewer_gpus(cluster, self.wait.pod, self.idle, "its parallelism does not use them")
        if self.wait.reason == "oversized":
            return narrower(cluster, self.wait.pod, self.wait.nodes, self.largest)
        target, path = _says_how_many(cluster, self.subject)
        wanted = target.count(path) if target else None
        if target is None or wanted is None or not 0 < self.placed < wanted:
            return []
        why = f"{self.placed} of {wanted} replicas have a place on the GPUs there are"
        edit = Edit(path=path, before=wanted, after=self.placed)
        return [Change(target=target.ref, edits=(edit,), why=why)]

    def advice(self) -> list[str]:
        """Where GPUs come from."""
        found = ["add a node to the group of these nodes, or stop something that uses their GPUs"]
        if self.wait.reason == "oversized":
            found = [
                "spread the model over nodes (LeaderWorkerSet, `worker` of LLMInferenceService, `workerSpec`)"
            ]
        return [*found, "a PriorityClass above that of batch work lets a server take GPUs from it"]


def _says_how_many(cluster: Snapshot, owner: Ref) -> tuple[Object | None, str]:
    """The object and field that decide how many replicas there are: with an autoscaler, its maximum."""
    scalers = cluster.scalers_of(owner)
    own = cluster.object_at(owner)
    if not scalers or own is None:
        return own, _REPLICAS.get(owner.kind, "")
    sources = [own, *sorted(scalers, key=lambda scaler: scaler.kind != "ScaledObject")]
    found = next(source for source in sources if source.kind in _MOST)
    return found, _MOST[found.kind]


def _content(cluster: Snapshot, wait: Wait, placed: int) -> bool:
    """In a what-if: whether no more replicas are wanted now than have a place."""
    target, path = _says_how_many(cluster, wait.owner)
    wanted = target.count(path) if target else None
    return bool(target and target.ref.key in cluster.whatif and wanted is not None and wanted <= placed)


def _severity(cluster: Snapshot, wait: Wait) -> Severity:
    """Nothing to blame for a pod that may wait by its priority, or that waits for a node to come back."""
    if wait.reason == "down":
        return "info"
    found = cluster.get("PriorityClass", "", wait.pod.spec.priority_class_name)
    priority = found.count("value") if found else None
    return "info" if priority is not None and priority < 0 else outage(cluster, wait.owner)


def _evidence(cluster: Snapshot, wait: Wait) -> tuple[Evidence, ...]:
    found = [seen_object(wait.pod.ref, "status.conditions[PodScheduled].message", _said(cluster, wait.pod))]
    found += [
        seen_object(node.ref, "status.allocatable", _use(cluster, node, wait)) for node in wait.nodes[:4]
    ]
    refused = cluster.events_about(wait.pod.ref, "NotTriggerScaleUp")
    return (*found, *(seen_event(wait.pod.ref, event) for event in refused[-1:]))


def _said(cluster: Snapshot, pod: Pod) -> str:
    return cluster.scheduling_message(pod) or "Unschedulable"


def _use(cluster: Snapshot, node: Node, wait: Wait) -> str:
    have = cluster.allocatable_gpus(node).get(wait.resource, 0)
    return f"{wait.resource}: {have}, requested {cluster.used_on(node.name).get(wait.resource, 0):.0f}"
