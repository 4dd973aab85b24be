"""A rollout is stuck: the new pod waits for GPUs of the old one, which stays until the new one is ready.

What happens
RollingUpdate starts a pod of the new version first. With one replica the default 25 % rounds to one pod more
and none fewer: without a spare set of GPUs the new pod stays Pending and the old one is never stopped.

How it shows
A Pending pod of the newest ReplicaSet that would fit if pods of an older one were gone; `Insufficient
nvidia.com/gpu`; the Deployment `ProgressDeadlineExceeded` after ten minutes, while the old version serves.

When we stay silent
The strategy lets an old pod go (then it is a matter of time); the new pod would not fit even then; it waits
for minutes only, or an autoscaler is adding a node; both versions are meant to serve (a canary);
StatefulSets and LeaderWorkerSets, which stop the old pod first.

What we propose
No surge and one pod unavailable, on the object that a person edits (`spec.predictor.deploymentStrategy`);
advice for Knative, whose revisions overlap by design.

Sources
kserve/kserve#1601, #4188, #4855; defilantech/LLMKube#192, #196; ai-runway/airunway#400; deployment
controller 1.37 (`ResolveFenceposts`: surge is rounded up, unavailable down).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import Pod
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import counted, duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.waiting import REVISION, Wait, older_of, waits_for
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_object

#: What a rollout without spare GPUs needs.
IN_PLACE = {"maxSurge": 0, "maxUnavailable": 1}


@dataclass(frozen=True, kw_only=True)
class RolloutDeadlockNoSpareGpu(Fault):
    """The new pod of a Deployment, the older ones that hold its GPUs, and the strategy as written."""

    layer = Layer.PLACEMENT

    wait: Wait
    older: tuple[Pod, ...]
    replicas: int
    surge: int | str
    unavailable: int | str
    waited_s: float

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Rollouts that can go neither forward nor back."""
        for wait in waits_for(cluster, "rollout"):
            deployment = cluster.workload_of(wait.pod)
            strategy = _strategy(cluster, wait, deployment) if deployment else {}
            if deployment is None or strategy.get("type", "RollingUpdate") != "RollingUpdate":
                continue
            numbers = strategy.get("rollingUpdate") or {}
            surge, unavailable = numbers.get("maxSurge", "25%"), numbers.get("maxUnavailable", "25%")
            replicas = deployment.count("spec.replicas") or 1
            if not _lets_go(surge, unavailable, replicas):
                older = older_of(cluster, wait.pod)
                yield cls(
                    subject=wait.owner,
                    severity=outage(cluster, wait.owner),
                    evidence=_evidence(cluster, wait, deployment, older),
                    hurts=(wait.owner, *(pod.ref for pod in wait.pods)),
                    wait=wait,
                    older=older,
                    replicas=replicas,
                    surge=surge,
                    unavailable=unavailable,
                    waited_s=cluster.standing_s(wait.pod),
                )

    def summary(self) -> str:
        """Who waits for whom."""
        wait = self.wait
        waits = f"the new pod waits for {wait.count} `{wait.resource}`"
        held = f"held by {counted(len(self.older), 'pod')} of the old version until it is ready"
        return f"rollout stuck for {duration(self.waited_s)}: {waits}, {held}"

    def explain(self) -> list[str]:
        """From the strategy to the deadlock."""
        of = counted(self.replicas, "replica")
        return [
            f"maxSurge {self.surge} starts one first, maxUnavailable {self.unavailable} of {of} lets none go",
            f"no node that it may use has {self.wait.count} GPUs free; the old version holds some of them",
            "so the new pod waits for the old one and the old one for the new one; the old version serves",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The old pod goes first."""
        target = cluster.object_at(self.subject)
        if target is None or REVISION in self.wait.pod.labels:
            return []
        why = f"without {counted(self.wait.count, 'spare GPU')} the old pod has to go first"
        if target.kind == "InferenceService":
            after: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": IN_PLACE}
            path = "spec.predictor.deploymentStrategy"
        elif target.kind == "Deployment":
            path, after = "spec.strategy.rollingUpdate", IN_PLACE
        else:
            return []
        edit = Edit(path=path, before=target.value(path), after=after)
        return [Change(target=target.ref, edits=(edit,), why=why)]

    def advice(self) -> list[str]:
        """What frees the rollout now."""
        space, old = self.wait.pod.namespace, self.older[0].name
        return [
            f"`kubectl -n {space} delete pod {old}` lets this rollout go on now, with a gap in service",
            "a spare set of GPUs (or a node group that scales) keeps rollouts without a gap",
        ]


def _strategy(cluster: Snapshot, wait: Wait, deployment: Object) -> dict[str, Any]:
    """The strategy in force: the serving object's own, else the Deployment's."""
    owner = cluster.object_at(wait.owner)
    own = owner.table("spec.predictor.deploymentStrategy") if owner else {}
    return own or deployment.table("spec.strategy")


def _lets_go(surge: int | str, unavailable: int | str, replicas: int) -> bool:
    """Whether a rollout may stop an old pod before a new one is ready, rounded as the controller does."""
    more, fewer = math.ceil(_of(surge, replicas)), math.floor(_of(unavailable, replicas))
    return fewer > 0 or more == 0


def _of(number: int | str, replicas: int) -> float:
    text = str(number)
    whole = float(text.rstrip("%")) if text.rstrip("%").isdigit() else 0.0
    return whole * replicas / 100 if text.endswith("%") else whole


def _evidence(
    cluster: Snapshot, wait: Wait, deployment: Object, older: tuple[Pod, ...]
) -> tuple[Evidence, ...]:
    said = cluster.scheduling_message(wait.pod) or "Unschedulable"
    strategy = deployment.value("spec.strategy")
    found = [
        seen_object(wait.pod.ref, "status.conditions[PodScheduled].message", said),
        seen_object(deployment.ref, "spec.strategy", "default" if strategy is ABSENT else strategy),
        *(seen_object(pod.ref, "spec.nodeName", pod.spec.node_name) for pod in older[:3]),
    ]
    progress = deployment.condition("Progressing")
    if progress and progress.status == "False":
        found.append(seen_object(deployment.ref, "status.conditions[Progressing].reason", progress.reason))
    return tuple(found)
