"""Pods stay Pending because every node they could use has a taint they do not tolerate.

What happens
GPU nodes are tainted so that other work stays away. A pod that must run there and lacks the toleration is never placed. Pods
that request a GPU may get it from an admission plugin; prefetch Jobs, cache agents and storage helpers beside them do not.

How it shows
`untolerated taint` in the scheduler's message, with the key up to Kubernetes 1.36 and without it from 1.37; nodes that match
the pod's labels and have room, each with the same taint.

When we stay silent
Some node that the pod's labels allow has no such taint (then it waits for room, not for a toleration); the taint marks a
node in trouble or a control plane (`node.kubernetes.io/...`, `node-role.kubernetes.io/...`): nobody should tolerate those;
pods held back by a scheduling gate.

What we propose
The toleration, on the object that a person edits (CronJob, Job template, `spec.predictor.tolerations`).

Sources
vllm-project/aibrix#909, defilantech/LLMKube#1621, NVIDIA/k8s-device-plugin#734; kube-scheduler 1.37 TaintToleration.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from tillerman.cluster.change import Change
from tillerman.cluster.model import Node, Pod, Ref, Taint
from tillerman.cluster.placement import gpus_of, unmatched, untolerated
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Fault, Layer, outage, seen_object

#: Taints that say a node is in trouble, new, leaving or a control plane: a toleration would be wrong.
NOT_TO_TOLERATE = (
    "node.kubernetes.io/",
    "node-role.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "node.cilium.io/",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "karpenter.sh/",
    "nvidia.com/gpu-driver-upgrade",
)


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
            nodes = _wanted(cluster, pods[0])
            barred = {node.name: untolerated(pods[0].spec, node) for node in nodes}
            if not nodes or not all(barred.values()) or any(_never(t) for taints in barred.values() for t in taints):
                continue
            taints = tuple(dict.fromkeys(taint for found in barred.values() for taint in found))
            yield cls(
                subject=owner,
                severity=outage(cluster, owner),
                evidence=(
                    seen_object(pods[0].ref, "status.conditions[PodScheduled].message", _message(cluster, pods[0])),
                    *(seen_object(node.ref, "spec.taints", _said(barred[node.name])) for node in nodes[:3]),
                ),
                hurts=(owner, *(pod.ref for pod in pods)),
                pod=pods[0],
                taints=taints,
                nodes=tuple(node.name for node in nodes),
                pods=len(pods),
            )

    def summary(self) -> str:
        """How many pods, which taint, how many nodes."""
        return (
            f"{self.pods} Pending pod{'s' if self.pods > 1 else ''}: no toleration for the taint {_said(self.taints)} "
            f"of the {len(self.nodes)} node{'s' if len(self.nodes) > 1 else ''} they could use"
        )

    def explain(self) -> list[str]:
        """From the taint to the wait."""
        return [
            f"the nodes that the pod's labels and resources allow ({', '.join(self.nodes[:4])}) are tainted {_said(self.taints)}",
            "the pod template has no toleration that covers it",
            "so the scheduler places the pod nowhere, and what waits for it waits too",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The tolerations it lacks, added to those it has."""
        place = cluster.place_of(self.pod, self.pod.spec.containers[0].name)
        if place is None:
            return []
        have: list[Any] = place.target.items(f"{place.pod}.tolerations")
        lacking = [_toleration(taint) for taint in self.taints]
        why = f"the nodes it is meant for are tainted {_said(self.taints)}"
        change = cluster.edit_pod(self.pod, "tolerations", [*have, *lacking], why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """A Job's template cannot change once it runs."""
        kind = self.subject.kind
        if kind not in ("Job", "CronJob"):
            return []
        return ["a Job that exists keeps its old template: delete it and let it be created anew with the toleration"]


def _wanted(cluster: Snapshot, pod: Pod) -> tuple[Node, ...]:
    """The nodes a pod is meant for: its labels match, and they hold the GPUs it asks for (or any node, without GPUs)."""
    asked = gpus_of(pod.spec)
    return tuple(
        node
        for node in cluster.nodes
        if not unmatched(pod.spec, node.labels)
        and not node.spec.unschedulable
        and all(cluster.allocatable_gpus(node).get(name, 0) >= count for name, count in asked.items())
    )


def _never(taint: Taint) -> bool:
    return taint.key.startswith(NOT_TO_TOLERATE)


def _said(taints: tuple[Taint, ...]) -> str:
    return ", ".join(f"`{t.key}{'=' + t.value if t.value else ''}:{t.effect}`" for t in taints)


def _message(cluster: Snapshot, pod: Pod) -> str:
    return cluster.scheduling_message(pod) or "Unschedulable"


def _toleration(taint: Taint) -> dict[str, str]:
    found: dict[str, str] = msgspec.to_builtins(taint)
    return {"key": found["key"], "operator": "Exists", "effect": found["effect"]}
