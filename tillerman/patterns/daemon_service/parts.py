"""A part of the GPU stack that does not work: why, in a form that holds configuration against what was seen.

Shared by the faults that blame a part: what keeps it from a node or from running, and the change that lets
it.
"""

import re
from dataclasses import dataclass
from typing import Literal

import msgspec

from tillerman.cluster.life import last_end
from tillerman.cluster.model import Node, Pod, Ref, Taint, Toleration
from tillerman.cluster.objects import Object
from tillerman.cluster.placement import tolerates, unmatched
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.automated_placement.labels import unmet
from tillerman.patterns.automated_placement.taints import deliberate, listed
from tillerman.patterns.automated_placement.waiting import PENDING_S
from tillerman.patterns.fault import Evidence, seen_event, seen_log, seen_object

#: Drivers compile and plugins register within this time on a new node. Source: GPU operator documentation,
#: "about 10 minutes".
JOINING_S = 900
#: Where an operator's object holds the tolerations of the parts it makes. Sources: GPU operator 26.7, NFD
#: operator of OpenShift 4.20.
TOLERATIONS = {
    "ClusterPolicy": "spec.daemonsets.tolerations",
    "NodeFeatureDiscovery": "spec.operand.workerTolerations",
}
_HARD = ("NoSchedule", "NoExecute")
#: What klog puts before a message: `E1119 09:37:56.318702       1 main.go:207] `.
_KLOG = re.compile(r"^[IWEF]\d{4} [\d:.]+\s+\d+ [^\]]+\] ")


@dataclass(frozen=True, kw_only=True)
class Defect:
    """Why a part does not work: `tainted` and `unlabelled` keep it from a node, the others from running.

    `owner` is what a person changes; `pod` is one that shows it, `said` its own words or the scheduler's.
    """

    workload: Object
    owner: Ref
    kind: Literal["tainted", "unlabelled", "unscheduled", "scaled-to-zero", "failing"]
    pod: Pod | None = None
    taints: tuple[Taint, ...] = ()
    labels: tuple[str, ...] = ()
    said: str = ""
    evidence: tuple[Evidence, ...] = ()

    def __str__(self) -> str:
        name = f"{self.workload.kind} `{self.workload.name}`"
        return {
            "tainted": f"{name} does not tolerate {listed(self.taints)}",
            "unlabelled": f"{name} asks for {', '.join(f'`{label}`' for label in self.labels)}",
            "unscheduled": f"{name} has no node: {self.said}",
            "scaled-to-zero": f"{name} is scaled to zero",
            "failing": f"{name} fails: {self.said}",
        }[self.kind]


def defect_on(cluster: Snapshot, workload: Object, node: Node) -> Defect | None:
    """Why a DaemonSet's pod is not there or not working on a node; None when nothing says so."""
    pod = next((p for p in cluster.pods_of(workload.ref) if p.spec.node_name == node.name), None)
    if pod is not None:
        return _failing(cluster, workload, pod)
    owner, template = cluster.owner_of(workload), workload.template
    if template is None:
        return None
    labels = unmatched(template.spec, node.labels)
    if labels:
        seen = seen_object(workload.ref, "spec.template.spec.nodeSelector", ", ".join(labels))
        return Defect(workload=workload, owner=owner, kind="unlabelled", labels=labels, evidence=(seen,))
    have = tolerations_of(cluster, workload)
    taints = tuple(t for t in deliberate(node.spec.taints) if not tolerates(have, t) and t.effect in _HARD)
    if taints:
        seen = seen_object(workload.ref, "spec.template.spec.tolerations", "none for " + listed(taints))
        return Defect(workload=workload, owner=owner, kind="tainted", taints=taints, evidence=(seen,))
    return None


def defect_of(cluster: Snapshot, workload: Object) -> Defect | None:
    """Why a workload has no pod that works anywhere; None when one does, or nothing says why not."""
    owner, pods = cluster.owner_of(workload), [p for p in cluster.pods_of(workload.ref) if not p.finished]
    if workload.count("spec.replicas") == 0:
        seen = seen_object(workload.ref, "spec.replicas", 0)
        return Defect(workload=workload, owner=owner, kind="scaled-to-zero", evidence=(seen,))
    if not pods or any(pod.ready for pod in pods):
        return None
    waiting = [p for p in pods if _stuck(cluster, p)]
    if waiting:
        want, message = unmet(cluster, waiting[0]), cluster.scheduling_message(waiting[0])
        said = f"no node carries `{want}`" if want else message.split(" preemption:")[0]
        seen = seen_object(waiting[0].ref, "status.conditions[PodScheduled].message", message)
        return Defect(
            workload=workload, owner=owner, kind="unscheduled", pod=waiting[0], said=said, evidence=(seen,)
        )
    found = [_failing(cluster, workload, pod) for pod in pods]
    return found[0] if all(found) else None


def _stuck(cluster: Snapshot, pod: Pod) -> bool:
    """Whether a pod has had no node for long; in a what-if, whether it would still find none."""
    trouble = cluster.trouble(pod)
    if trouble is None or trouble.kind != "unschedulable" or cluster.node_coming(pod):
        return False
    if cluster.owner_of(pod).key in cluster.whatif and cluster.fits(pod.spec):
        return False
    return cluster.standing_s(pod) >= PENDING_S


def _failing(cluster: Snapshot, workload: Object, pod: Pod) -> Defect | None:
    """How a part's pod fails; in a what-if that changes it, it is given the benefit of the doubt."""
    trouble, owner = cluster.trouble(pod), cluster.owner_of(workload)
    if (
        trouble is None
        or not trouble.failing
        or trouble.kind == "unschedulable"
        or owner.key in cluster.whatif
    ):
        return None
    log = cluster.last_words(pod, trouble.container) if trouble.container else None
    telling = log.telling if log else None
    warning = next((e for e in reversed(cluster.events_about(pod.ref)) if e.type == "Warning"), None)
    state = f"{trouble.kind} in `{trouble.container}`" if trouble.container else trouble.kind
    evidence = [seen_object(pod.ref, "status", state)]
    if telling:
        evidence.append(seen_log(pod.ref, trouble.container, telling.number, telling.text))
    if warning:
        evidence.append(seen_event(pod.ref, warning))
    said = _KLOG.sub("", telling.text) if telling else warning.text if warning else state
    end = last_end(trouble.status) if trouble.status else None
    if end and end.reason == "OOMKilled":
        said = f"`{trouble.container}` is OOMKilled"
    return Defect(
        workload=workload, owner=owner, kind="failing", pod=pod, said=said[-200:], evidence=tuple(evidence)
    )


def tolerations_of(cluster: Snapshot, workload: Object) -> tuple[Toleration, ...]:
    """What a part tolerates: its template, and what its operator's object is going to put there."""
    template, owner = workload.template, cluster.object_at(cluster.owner_of(workload))
    more = owner.items(TOLERATIONS[owner.kind]) if owner and owner.kind in TOLERATIONS else []
    return (*(template.spec.tolerations if template else ()), *msgspec.convert(more, tuple[Toleration, ...]))
