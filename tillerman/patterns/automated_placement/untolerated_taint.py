"""Pods stay Pending because every node they could use has a taint they do not tolerate.

What happens
GPU nodes are tainted so that other work stays away. A pod that must run there and lacks the toleration is
never placed. Pods that request a GPU may get it from an admission plugin; prefetch Jobs, cache agents and
storage helpers beside them do not.

How it shows
`untolerated taint` in the scheduler's message, with the key up to Kubernetes 1.36 and without it from 1.37;
nodes that match the pod's labels and have its GPUs, each with a deliberate taint.

When we stay silent
Some node that the pod's labels allow has no such taint, even one that is cordoned or in trouble now (then
the pod waits for that, not for a toleration); the taints are those of nodes in trouble or of a control plane
(`node.kubernetes.io/...`, `node-role.kubernetes.io/...`): nobody should tolerate those; an autoscaler is
adding a node; pods held back by a scheduling gate.

What we propose
The toleration that opens most nodes, on the object that a person edits (CronJob, Job template,
`spec.predictor.tolerations`).

Sources
vllm-project/aibrix#909, defilantech/LLMKube#1621, NVIDIA/k8s-device-plugin#734; kube-scheduler 1.37
TaintToleration.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tillerman.cluster.change import Change
from tillerman.cluster.model import Pod, Ref, Taint
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.taints import barrier, listed, toleration
from tillerman.patterns.fault import Fault, Layer, outage, seen_object


@dataclass(frozen=True, kw_only=True)
class UntoleratedTaint(Fault):
    """Pending pods of one owner, and the taints that keep them from every node they could use."""

    layer = Layer.PLACEMENT

    pod: Pod
    taints: tuple[Taint, ...]
    nodes: tuple[str, ...]
    pods: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners whose Pending pods are kept away by deliberate taints alone."""
        groups: dict[Ref, list[Pod]] = {}
        for pod, _ in cluster.troubled_as("unschedulable"):
            groups.setdefault(cluster.owner_of(pod), []).append(pod)
        for owner, pods in groups.items():
            taints, nodes = barrier(cluster, pods[0])
            if not taints or cluster.node_coming(pods[0]):
                continue
            said = cluster.scheduling_message(pods[0]) or "Unschedulable"
            yield cls(
                subject=owner,
                severity=outage(cluster, owner),
                evidence=(
                    seen_object(pods[0].ref, "status.conditions[PodScheduled].message", said),
                    *(seen_object(node.ref, "spec.taints", listed(node.spec.taints)) for node in nodes[:3]),
                ),
                hurts=(owner, *(pod.ref for pod in pods)),
                pod=pods[0],
                taints=taints,
                nodes=tuple(node.name for node in nodes),
                pods=len(pods),
            )

    def summary(self) -> str:
        """How many pods, which taint, how many nodes."""
        lacks = f"no toleration for the taint {listed(self.taints)} of the {counted(len(self.nodes), 'node')}"
        return f"{counted(self.pods, 'Pending pod')}: {lacks} they could use"

    def explain(self) -> list[str]:
        """From the taint to the wait."""
        nodes = ", ".join(self.nodes[:4])
        return [
            f"the nodes that the pod's labels and GPUs allow ({nodes}) are tainted {listed(self.taints)}",
            "the pod template has no toleration that covers it",
            "so the scheduler places the pod nowhere, and what waits for it waits too",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The tolerations it lacks, added to those it has."""
        place = cluster.place_of(self.pod, self.pod.spec.containers[0].name)
        if place is None:
            return []
        have: list[Any] = place.target.items(f"{place.pod}.tolerations")
        lacking = [toleration(taint) for taint in self.taints]
        why = f"the nodes it is meant for are tainted {listed(self.taints)}"
        change = cluster.edit_pod(self.pod, "tolerations", [*have, *lacking], why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """A Job's template cannot change once it runs, a bare pod's neither."""
        found = [
            f"`kubectl describe node {self.nodes[0]}` shows the taint; who set it knows who may tolerate it"
        ]
        if self.subject.kind in ("Job", "CronJob"):
            found.append("a Job that exists keeps its old template: delete it and let it be created anew")
        return found
