"""Pods that wait for a node, and the one reason why: what the placement faults share.

Each wait has a single reason, so that no two faults blame the same pods for the same wait.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from tillerman.cluster.change import ABSENT
from tillerman.cluster.model import Node, Pod, PodSpec, Ref
from tillerman.cluster.placement import gpus_of, requests_of
from tillerman.cluster.snapshot import Snapshot

#: The scheduler has tried again by then (its back-off is 10 s at most), and an autoscaler that adds a node
#: has said so in an event (cluster-autoscaler scans every 10 s, Karpenter batches for 10 s at most).
PENDING_S = 30

#: The label by which Knative names the revision of a pod: `chat-predictor-00002`.
REVISION = "serving.knative.dev/revision"
#: How a scheduler says that a node has too few GPUs. Sources: kube-scheduler 1.37, Volcano 1.13, KAI 0.9.
_SHORT = re.compile(r"(?i)insufficient [\w.-]+/|\bgpus?\b")

#: `coming`: an autoscaler is adding a node; `selector`: no node has the labels; `closed`: those that have are
#: tainted, cordoned or not ready; `other-resource`: they offer their GPUs under another name; `oversized`: no
#: node is large enough; `lost`: it would fit if a node offered every GPU it holds; `rollout`, `leaving`: what
#: holds the GPUs is an older pod of the same rollout, or a pod that is being deleted; `fragmented`: enough
#: GPUs are free, but on several nodes; `full`: they are taken; `down`: so they are, and a node with enough is
#: not ready; `other`: GPUs are not what it lacks.
Reason = Literal[
    "coming",
    "selector",
    "closed",
    "other-resource",
    "oversized",
    "lost",
    "rollout",
    "leaving",
    "fragmented",
    "full",
    "down",
    "other",
]


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Unscheduled pods of one owner that ask for the same, why they wait, and the nodes it is about.

    `asked` is accelerators by resource; `nodes` are those that the labels allow, and from `rollout` on those
    that are open to the pod and large enough.
    """

    owner: Ref
    pods: tuple[Pod, ...]
    asked: Mapping[str, int]
    reason: Reason
    nodes: tuple[Node, ...]

    @property
    def pod(self) -> Pod:
        """One of the pods: the others ask for the same."""
        return self.pods[0]

    @property
    def resource(self) -> str:
        """The accelerator asked for."""
        return next(iter(self.asked), "")

    @property
    def count(self) -> int:
        """How many of it one pod asks for."""
        return self.asked.get(self.resource, 0)


def waits_for(cluster: Snapshot, *reasons: Reason) -> tuple[Wait, ...]:
    """The waits with one of these reasons, one for each owner and reason, longer than any healthy wait."""
    return tuple(wait for wait in cluster.once(_waits) if wait.reason in reasons)


def _waits(cluster: Snapshot) -> tuple[Wait, ...]:
    found: dict[tuple[Ref, Reason], Wait] = {}
    for owner, pods in _alike(cluster):
        reason, nodes = _reason(cluster, pods[0])
        wait = Wait(owner=owner, pods=pods, asked=gpus_of(pods[0].spec), reason=reason, nodes=nodes)
        known = found.setdefault((owner, reason), wait)
        if known is not wait:
            found[owner, reason] = replace(known, pods=(*known.pods, *pods))
    return tuple(found.values())


def _alike(cluster: Snapshot) -> list[tuple[Ref, tuple[Pod, ...]]]:
    groups: dict[tuple[Ref, bytes], list[Pod]] = {}
    for pod, _ in cluster.troubled_as("unschedulable"):
        if cluster.standing_s(pod) >= PENDING_S:
            spec = pod.spec
            asks = (spec.node_selector, spec.affinity, spec.tolerations, requests_of(spec))
            groups.setdefault((cluster.owner_of(pod), msgspec.json.encode(asks)), []).append(pod)
    return [(owner, tuple(pods)) for (owner, _), pods in groups.items()]


def _reason(cluster: Snapshot, pod: Pod) -> tuple[Reason, tuple[Node, ...]]:
    if cluster.node_coming(pod):
        return "coming", ()
    matching = cluster.matching(pod.spec)
    if not matching:
        return "selector", ()
    usable = tuple(node for node in cluster.eligible(pod.spec) if node.ready)
    if not usable:
        return "closed", matching
    asked = gpus_of(pod.spec)
    said = cluster.scheduling_message(pod)
    if not asked or (said and not _SHORT.search(said)):
        return "other", usable
    reason, nodes = _short(cluster, pod, asked, usable)
    away = [node for node in matching if not node.ready and _holds(cluster, node, asked)]
    return (
        ("down", (*nodes, *away))
        if away and reason in ("full", "fragmented", "oversized")
        else (reason, nodes)
    )


def _holds(cluster: Snapshot, node: Node, asked: Mapping[str, int]) -> bool:
    """Whether a node has as many accelerators as a pod asks for, whoever uses them."""
    held = cluster.gpus_in(node)
    return all(held.get(name, 0) >= count for name, count in asked.items())


def _short(
    cluster: Snapshot, pod: Pod, asked: Mapping[str, int], usable: tuple[Node, ...]
) -> tuple[Reason, tuple[Node, ...]]:
    """Why the nodes that are open to a pod do not have the GPUs it asks for."""
    if any(all(cluster.free_on(node, name) >= count for name, count in asked.items()) for node in usable):
        return "other", usable
    if cluster.would_fit(pod, usable):
        return "lost", usable
    offers = [cluster.allocatable_gpus(node) for node in usable]
    if not any(offer.get(name) for offer in offers for name in asked):
        return "other-resource" if any(any(offer.values()) for offer in offers) else "other", usable
    large = tuple(
        node
        for node, offer in zip(usable, offers, strict=True)
        if all(offer.get(name, 0) >= count for name, count in asked.items())
    )
    if not large:
        return "oversized", usable
    return _taken(cluster, pod, asked, large), large


def _taken(cluster: Snapshot, pod: Pod, asked: Mapping[str, int], large: tuple[Node, ...]) -> Reason:
    """What holds the GPUs of the nodes that are open and large enough."""
    if fits_without(cluster, pod.spec, large, older_of(cluster, pod)):
        return "rollout"
    leaving = [p for node in large for p in cluster.pods_on(node.name) if p.metadata.deletion_timestamp]
    if fits_without(cluster, pod.spec, large, leaving):
        return "leaving"
    free = {name: sum(cluster.free_on(node, name) for node in large) for name in asked}
    return "fragmented" if all(free[name] >= count for name, count in asked.items()) else "full"


def older_of(cluster: Snapshot, pod: Pod) -> tuple[Pod, ...]:
    """The placed pods that a rollout wants to replace by this one: same Deployment, or Knative revisions."""
    owner = cluster.object_at(cluster.owner_of(pod))
    if owner is not None and owner.value("spec.predictor.canaryTrafficPercent") is not ABSENT:
        return ()
    own, found = _version(cluster, pod), []
    for other in cluster.pods_of(cluster.owner_of(pod)):
        placed = other.spec.node_name and not other.finished and not other.metadata.deletion_timestamp
        theirs = _version(cluster, other)
        if own and placed and theirs and theirs[0] == own[0] and theirs[1] < own[1]:
            found.append(other)
    return tuple(found)


def _version(cluster: Snapshot, pod: Pod) -> tuple[str, int] | None:
    """What a pod is a version of, and which one; None for pods that no rollout replaces."""
    replica_set = cluster.replica_set_of(pod)
    if revision := pod.labels.get(REVISION):
        name, _, number = revision.rpartition("-")
        return (name, int(number)) if number.isdigit() else None
    if replica_set is None:
        return None
    deployment = next((ref.name for ref in cluster.owners_of(pod) if ref.kind == "Deployment"), "")
    number = replica_set.annotations.get("deployment.kubernetes.io/revision", "")
    return (deployment, int(number)) if deployment and number.isdigit() else None


def fits_without(cluster: Snapshot, spec: PodSpec, nodes: Iterable[Node], gone: Iterable[Pod]) -> bool:
    """Whether a pod of this spec would fit on one of these nodes if these pods were gone."""
    freed: dict[str, list[Pod]] = {}
    for pod in gone:
        freed.setdefault(pod.spec.node_name, []).append(pod)
    asked = requests_of(spec)
    for node in nodes:
        back = [requests_of(pod.spec) for pod in freed.get(node.name, ())]
        room = {name: cluster.free_on(node, name) + sum(b.get(name, 0.0) for b in back) for name in asked}
        if back and all(room[name] >= want for name, want in asked.items()):
            return True
    return False
