"""Pods that could not be created, and what the API server said: a quota that is full, limits, a webhook.

No such pod exists; its controller tells of it in an event or a condition, and keeps trying.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tillerman.cluster.model import Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, seen_event, seen_object

_CONTROLLERS = ("ReplicaSet", "StatefulSet", "DaemonSet", "Job", "LeaderWorkerSet", "Deployment")


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A workload that lacks pods, whose it is, what was said, and how many pods are missing."""

    workload: Object
    owner: Ref
    message: str
    missing: int
    evidence: Evidence


def refusals(cluster: Snapshot) -> Iterator[Refusal]:
    """The workloads whose controllers fail to create pods now, each with its newest message."""
    seen: set[Ref] = set()
    for kind in _CONTROLLERS:
        for workload in cluster.all(kind):
            found = _said(cluster, workload)
            missing = _missing(cluster, workload) if found else 0
            owner = cluster.owner_of(workload)
            if found and missing > 0 and (owner not in seen or kind != "Deployment"):
                seen.add(owner)
                message, evidence = found
                yield Refusal(
                    workload=workload, owner=owner, message=message, missing=missing, evidence=evidence
                )


def _said(cluster: Snapshot, workload: Object) -> tuple[str, Evidence] | None:
    """Why a controller could not create a pod: its newest event, else its condition."""
    events = cluster.events_about(workload.ref, "FailedCreate")
    if events:
        return events[-1].text, seen_event(workload.ref, events[-1])
    failure = workload.condition("ReplicaFailure")
    if failure and failure.status == "True":
        path = "status.conditions[ReplicaFailure].message"
        return failure.message, seen_object(workload.ref, path, failure.message)
    return None


def _missing(cluster: Snapshot, workload: Object) -> int:
    """How many of the pods that a workload wants do not exist."""
    have = len([pod for pod in cluster.pods_of(workload.ref) if not pod.metadata.deletion_timestamp])
    if workload.kind == "Job":
        done = workload.condition("Complete") or workload.condition("Failed")
        return 0 if have or done else workload.count("spec.parallelism") or 1
    if workload.kind == "DaemonSet":
        return (workload.count("status.desiredNumberScheduled") or 0) - have
    size = workload.count("spec.leaderWorkerTemplate.size") or 1
    wanted = workload.count("spec.replicas")
    return (1 if wanted is None else wanted) * size - have
