"""What is broken and no fault recognises.

Found all the same, by layer, with the first telling line of its log.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tillerman.cluster.life import REPEATED, Trouble
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.quantity import duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_event, seen_log, seen_object

#: A pod that waits this long for a node is stuck: schedulers and autoscalers have had several rounds by then.
PENDING_S = 300
#: A running container that is not ready for this long, with no probe budget left, is stuck.
NOT_READY_S = 600

#: Trouble, and the name and pattern of the finding it becomes when nothing else explains it.
_NAMES = {
    "unschedulable": ("unrecognised-pending", "automated-placement"),
    "rejected": ("unrecognised-admission", "automated-placement"),
    "evicted": ("unrecognised-eviction", "predictable-demands"),
    "failed": ("unrecognised-failure", "batch-job"),
    "image": ("unrecognised-image-pull", "model-data-staging"),
    "config": ("unrecognised-container-config", "configuration"),
    "init-failing": ("unrecognised-init-failure", "init-container"),
    "crash-looping": ("unrecognised-crash-loop", "managed-lifecycle"),
    "restarting": ("unrecognised-restarts", "managed-lifecycle"),
    "not-ready": ("unrecognised-not-ready", "health-probe"),
    "creating": ("unrecognised-creation", "model-data-staging"),
}


@dataclass(frozen=True, kw_only=True)
class Unrecognised(Fault):
    """Pods of one owner in one kind of trouble that no fault of the catalogue accounts for."""

    layer = Layer.UNKNOWN

    fault: str
    pattern: str
    pods: int
    what: str
    telling: str

    def summary(self) -> str:
        """What state it is in, and the line that tells most."""
        count = f"{self.pods} pod{'s' if self.pods != 1 else ''}"
        return f"{count} {self.what}" + (f": {self.telling}" if self.telling else "; nothing seen says why")

    def explain(self) -> list[str]:
        """The little that is known."""
        return ["no fault of the catalogue matches what was seen", self.summary()]

    def advice(self) -> list[str]:
        """How to look further."""
        space = f"-n {self.subject.namespace} " if self.subject.namespace else ""
        pod = next((ref for ref in self.hurts if ref.kind == "Pod"), None)
        if pod is None or self.subject.kind == "Node":
            what = f"{self.subject.kind.lower()} {self.subject.name}"
            return [f"`kubectl {space}describe {what}` shows its conditions and events"]
        return [
            f"`kubectl {space}describe pod {pod.name}` shows its events",
            f"`kubectl {space}logs {pod.name} --all-containers --previous` shows its last words",
        ]


def unrecognised(cluster: Snapshot, found: Iterable[Fault]) -> Iterator[Unrecognised]:
    """The failing pods that no finding accounts for, by owner and kind of trouble."""
    known = {ref.key for fault in found for ref in (*fault.hurts, fault.subject)}
    groups: dict[tuple[Ref, str], list[tuple[Pod, Trouble]]] = {}
    for pod, trouble in cluster.troubled:
        owner = cluster.owner_of(pod)
        if pod.ref.key in known or owner.key in cluster.whatif or pod.ref.key in cluster.whatif:
            continue
        if trouble.kind in _NAMES and _stuck(cluster, pod, trouble):
            groups.setdefault((owner, trouble.kind), []).append((pod, trouble))
    for (owner, kind), pods in groups.items():
        yield _finding(cluster, owner, kind, pods)


def _stuck(cluster: Snapshot, pod: Pod, trouble: Trouble) -> bool:
    """Whether this is a failure that lasts.

    Waits get their time, Jobs their retries, controllers their replacements.
    """
    age = cluster.standing_s(pod)
    if trouble.kind == "unschedulable":
        return age >= PENDING_S and not cluster.node_coming(pod)
    if trouble.kind in ("failed", "evicted", "rejected"):
        return not _replaced(cluster, pod)
    if trouble.kind == "crash-looping" and trouble.status and trouble.status.restart_count < REPEATED:
        return not trouble.status.ready and age >= PENDING_S
    if trouble.kind == "not-ready":
        if _follower(cluster, pod, trouble):
            return False
        ready = pod.condition("Ready")
        return (cluster.age_s(ready.last_transition_time if ready else None) or 0.0) >= NOT_READY_S
    return age >= NOT_READY_S if trouble.kind == "creating" else trouble.failing


def _follower(cluster: Snapshot, pod: Pod, trouble: Trouble) -> bool:
    """Whether a pod waits for leadership while a sibling leads: endpoint pickers call followers not ready."""
    container = pod.container(trouble.container)
    words = (*container.command, *container.args) if container else ()
    electing = any(re.search(r"leader-elect(?:ion)?(?:$|=true)", word) for word in words)
    return electing and any(sibling.ready for sibling in cluster.pods_of(cluster.owner_of(pod)))


def _replaced(cluster: Snapshot, pod: Pod) -> bool:
    """Whether something took the place of a pod that failed.

    Its Job goes on or succeeded, its siblings serve.
    """
    owner = cluster.owner_of(pod)
    workload = cluster.workload_of(pod)
    if workload is None:
        return owner.kind != "Pod"
    if workload.kind in ("Job", "CronJob"):
        job = cluster.object_at(next(r for r in cluster.owners_of(pod) if r.kind == "Job")) or workload
        failed = job.condition("Failed")
        later = [j for j in cluster.children_of(owner, "Job") if j.condition("Complete")]
        return not (failed and failed.status == "True") or bool(later)
    siblings = [p for p in cluster.pods_of(workload.ref) if p.ref.key != pod.ref.key and not p.finished]
    return bool(siblings)


_WHAT = {
    "unschedulable": "cannot be scheduled",
    "rejected": "refused by the node's kubelet",
    "evicted": "evicted and not replaced",
    "failed": "failed for good",
    "image": "cannot pull the image",
    "config": "cannot create the container",
    "init-failing": "fail in init container",
    "crash-looping": "crash-loop",
    "restarting": "keep restarting",
    "not-ready": "run but are not ready",
    "creating": "wait for the container to be created",
}


def _finding(cluster: Snapshot, owner: Ref, kind: str, pods: list[tuple[Pod, Trouble]]) -> Unrecognised:
    pod, trouble = max(pods, key=lambda p: p[1].status.restart_count if p[1].status else 0)
    telling, evidence = _telling(cluster, pod, trouble)
    restarts = trouble.status.restart_count if trouble.status else 0
    what = f"{_WHAT[kind]} `{trouble.container}`" if trouble.container else _WHAT[kind]
    if restarts:
        what += f", {restarts} restart{'s' if restarts > 1 else ''}"
    elif age := cluster.standing_s(pod):
        what += f" since {duration(age)}"
    name, pattern = _NAMES[kind]
    return Unrecognised(
        subject=owner,
        severity=outage(cluster, owner),
        evidence=evidence,
        hurts=tuple(p.ref for p, _ in pods),
        fault=name,
        pattern=pattern,
        pods=len(pods),
        what=what,
        telling=telling,
    )


def _telling(cluster: Snapshot, pod: Pod, trouble: Trouble) -> tuple[str, tuple[Evidence, ...]]:
    """The line or message that says most, and everything worth looking at."""
    evidence: list[Evidence] = []
    telling = ""
    status = trouble.status
    if status:
        path = f"status.containerStatuses[{trouble.container}].restartCount"
        evidence.append(seen_object(pod.ref, path, status.restart_count))
        waiting, ended = status.state.waiting, status.state.terminated or status.last_state.terminated
        if waiting and waiting.message and trouble.kind in ("image", "config"):
            telling = waiting.message
        if ended:
            code = f"exit {ended.exit_code} {ended.reason}".strip()
            evidence.append(
                seen_object(pod.ref, f"status.containerStatuses[{trouble.container}].lastState", code)
            )
        log = cluster.last_words(pod, trouble.container) if trouble.kind != "image" else None
        if log and log.telling:
            telling = telling or log.telling.text
            evidence.append(seen_log(pod.ref, trouble.container, log.telling.number, log.telling.text))
    if trouble.kind == "unschedulable":
        telling = cluster.scheduling_message(pod)
    warnings = [e for e in cluster.events_about(pod.ref) if e.type == "Warning"]
    if warnings:
        evidence.append(seen_event(pod.ref, warnings[-1]))
    telling = telling or pod.status.message or (warnings[-1].text if warnings else "")
    if not evidence:
        evidence.append(seen_object(pod.ref, "status.phase", pod.status.phase))
    return telling.splitlines()[0][:240] if telling else "", tuple(evidence)
