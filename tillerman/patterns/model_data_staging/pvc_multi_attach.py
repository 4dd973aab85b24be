"""A volume that one node may mount is held on another node, and the pod that needs it waits for it.

What happens
A ReadWriteOnce volume is attached to one node at a time. A rolling update makes the new pod before the old
one is gone, more replicas are more pods, a helper pod that was left behind keeps the claim: when the
scheduler puts the newcomer on another node, it can never get the volume.

How it shows
`FailedAttachVolume`: `Multi-Attach error for volume "pvc-..." Volume is already used by pod(s) ...`;
`FailedMount` that times out; a pod in ContainerCreating for many minutes while another one on another node
mounts the same ReadWriteOnce claim; `ReadWriteOncePod` in the scheduler's message.

When we stay silent
The pod has got its volume since; whoever holds it is on its way out, or on a node that is lost (then that is
the cause); nothing but the time speaks for it and it is a few minutes.

What we propose
`Recreate` in place of a rolling update, where one replica waits for its own predecessor. Else advice: a claim
that many nodes may mount, or one for each pod.

Sources
Azure/AKS#1919, kserve/kserve#3409; Kubernetes documentation, "Access modes"; attach-detach controller 1.37.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tillerman.cluster.change import ABSENT, Change, Edit
from tillerman.cluster.model import Event, Pod, Ref
from tillerman.cluster.quantity import counted, duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_event, seen_object

#: An attach that is refused for longer is not one that waits for a detach in progress.
REFUSED_S = 120
#: Without an event, only a wait longer than the controller waits for a detach (6 min) says something.
WAIT_S = 600
MULTI_ATTACH = "Multi-Attach error"
_ONE_POD = re.compile(r"PersistentVolumeClaim with the same name and ReadWriteOncePod access mode")
#: What says that a pod waits for something else, or got further.
_OTHERWISE = ("Pulling", "Pulled", "Created", "Failed", "BackOff", "FailedMount", "FailedCreatePodSandBox")
_STRATEGIES = {"Deployment": "spec.strategy", "InferenceService": "spec.predictor.deploymentStrategy"}

#: What the kubelet says when a volume does not come in time. Source: kubelet up to 1.27, and from 1.28 on.
_LATE = ("timed out waiting", "unmounted volumes=")


@dataclass(frozen=True, kw_only=True)
class PvcMultiAttach(Fault):
    """Pods of one owner that wait for a volume which another node holds."""

    layer = Layer.STAGING

    pod: Pod
    claim: str
    holders: tuple[Pod, ...]
    waits_s: float
    pods: int
    replicas: int
    own: bool

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners with pods that wait for a volume held elsewhere."""
        groups: dict[Ref, list[tuple[Pod, str, tuple[Pod, ...]]]] = {}
        for pod, trouble in cluster.troubled_as("creating", "unschedulable"):
            for claim in _single(cluster, pod):
                holders = _holders(cluster, pod, claim)
                if holders and _refused(cluster, pod, trouble.kind):
                    groups.setdefault(cluster.owner_of(pod), []).append((pod, claim, holders))
                    break
        for owner, found in groups.items():
            one = cls._of(cluster, owner, found)
            if one:
                yield one

    @classmethod
    def _of(cls, cluster: Snapshot, owner: Ref, found: list[tuple[Pod, str, tuple[Pod, ...]]]) -> Self | None:
        pod, claim, holders = found[0]
        own = any(cluster.owner_of(holder) == owner for holder in holders)
        if own and _recreates(cluster, pod):
            return None
        workload = cluster.workload_of(pod)
        told = cluster.event_saying(pod.ref, MULTI_ATTACH) or not pod.spec.node_name
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=_evidence(cluster, pod, claim, holders),
            hurts=(owner, *(p.ref for p, _, _ in found)),
            certainty="proven" if told or _attached(cluster, pod, claim) else "likely",
            pod=pod,
            claim=claim,
            holders=holders,
            waits_s=cluster.standing_s(pod),
            pods=len(found),
            replicas=(workload.count("spec.replicas") or 1) if workload else 1,
            own=own,
        )

    @property
    def _held(self) -> str:
        return ", ".join(f"{h.name} on {h.spec.node_name}" for h in self.holders[:2])

    def summary(self) -> str:
        """Who waits for which claim since when, and who holds it."""
        where = f" on {self.pod.spec.node_name}" if self.pod.spec.node_name else ""
        return (
            f"{counted(self.pods, 'pod')}{where} waiting for the ReadWriteOnce claim "
            f"`{self.claim}` since {duration(self.waits_s)}: {self._held} holds it"
        )

    def explain(self) -> list[str]:
        """From the access mode to the wait."""
        why = "a helper or another workload uses the same claim"
        if self.own:
            why = "a rolling update makes the new pod before it ends the old one"
        if self.own and self.replicas > 1:
            why = f"{self.replicas} replicas share one claim"
        return [
            f"the claim `{self.claim}` may be mounted on one node at a time",
            f"{self._held} has it; {why}",
            "the attach is refused for as long as that pod lives, so the new one never starts",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The old pod first, where one replica waits for its own predecessor."""
        owner = cluster.object_at(self.subject)
        path = _STRATEGIES.get(self.subject.kind)
        if owner is None or path is None or not self.own or self.replicas > 1:
            return []
        if owner.text("status.deploymentMode") in ("Knative", "Serverless"):
            return []
        before: Any = owner.value(path)
        why = f"the old pod has to go before the new one gets `{self.claim}`, a volume for one node"
        edit = Edit(path=path, before=before, after={"type": "Recreate"})
        return [Change(target=owner.ref, edits=(edit,), why=why)]

    def advice(self) -> list[str]:
        """What frees the volume now, and what keeps it from happening again."""
        space, holder = self.pod.namespace, self.holders[0]
        found = [
            "weights that many pods read belong on a ReadWriteMany or ReadOnlyMany claim, or on one each",
        ]
        if not self.own:
            found.insert(
                0, f"`kubectl -n {space} delete pod {holder.name}` frees it, if nobody needs that pod"
            )
        return [
            *found,
            f"`kubectl get volumeattachments | grep {holder.spec.node_name}` shows what is attached",
        ]


def _single(cluster: Snapshot, pod: Pod) -> Iterator[str]:
    """The claims of a pod that one node, or one pod, may use at a time."""
    for volume in pod.spec.volumes:
        name = str((volume.get("persistentVolumeClaim") or {}).get("claimName", ""))
        claim = cluster.get("PersistentVolumeClaim", pod.namespace, name) if name else None
        modes = claim.items("spec.accessModes") if claim else []
        unseen = name and claim is None and cluster.event_saying(pod.ref, MULTI_ATTACH)
        if unseen or (modes and set(modes) <= {"ReadWriteOnce", "ReadWriteOncePod"}):
            yield name


def _holders(cluster: Snapshot, pod: Pod, claim: str) -> tuple[Pod, ...]:
    """The pods on other nodes that have a claim and will keep it."""
    found = []
    for other in cluster.pods_in(pod.namespace):
        node = cluster.node(other.spec.node_name)
        elsewhere = other.spec.node_name and other.spec.node_name != pod.spec.node_name
        leaving = other.metadata.deletion_timestamp or other.finished or (node is not None and not node.ready)
        mounts = any(
            (v.get("persistentVolumeClaim") or {}).get("claimName") == claim for v in other.spec.volumes
        )
        if mounts and elsewhere and not leaving and any(s.state.running for s in _statuses(other)):
            found.append(other)
    return tuple(found)


def _statuses(pod: Pod) -> tuple[Any, ...]:
    return (*pod.status.container_statuses, *pod.status.init_container_statuses)


def _refused(cluster: Snapshot, pod: Pod, kind: str) -> bool:
    """Whether it is the volume that a pod waits for: said so, or nothing else has begun for long."""
    waits = cluster.standing_s(pod)
    if kind == "unschedulable":
        return bool(_ONE_POD.search(cluster.scheduling_message(pod))) and waits >= REFUSED_S
    if _event(cluster, pod):
        return waits >= REFUSED_S
    begun = cluster.events_about(pod.ref, *_OTHERWISE)
    return waits >= WAIT_S and not begun and not any(s.restart_count for s in _statuses(pod))


def _event(cluster: Snapshot, pod: Pod) -> Event | None:
    multi = cluster.event_saying(pod.ref, MULTI_ATTACH, "FailedAttachVolume")
    said = (cluster.event_saying(pod.ref, text, "FailedMount") for text in _LATE)
    return multi or next((event for event in said if event), None)


def _evidence(cluster: Snapshot, pod: Pod, claim: str, holders: tuple[Pod, ...]) -> tuple[Evidence, ...]:
    event, volume = _event(cluster, pod), cluster.get("PersistentVolumeClaim", pod.namespace, claim)
    found = [seen_event(pod.ref, event)] if event else []
    if volume:
        found.append(seen_object(volume.ref, "spec.accessModes", ", ".join(volume.items("spec.accessModes"))))
    kept = (seen_object(h.ref, f"spec.volumes ({claim})", f"on {h.spec.node_name}") for h in holders[:2])
    return (*found, *_attached(cluster, pod, claim), *kept)


def _attached(cluster: Snapshot, pod: Pod, claim: str) -> tuple[Evidence, ...]:
    """Where the claim's volume is attached, when that is another node than the pod's."""
    found = cluster.get("PersistentVolumeClaim", pod.namespace, claim)
    volume = found.text("spec.volumeName") if found else ""
    for one in cluster.all("VolumeAttachment"):
        node = one.text("spec.nodeName")
        if volume and one.text("spec.source.persistentVolumeName") == volume and node != pod.spec.node_name:
            return (seen_object(one.ref, "spec.nodeName", node),)
    return ()


def _recreates(cluster: Snapshot, pod: Pod) -> bool:
    """Whether the pod's controller ends the old pod before it makes a new one."""
    items = (cluster.object_at(cluster.owner_of(pod)), cluster.workload_of(pod))
    for item in items:
        path = _STRATEGIES.get(item.kind) if item else None
        if item and path and item.value(f"{path}.type") not in (ABSENT, "RollingUpdate"):
            return True
    return False
