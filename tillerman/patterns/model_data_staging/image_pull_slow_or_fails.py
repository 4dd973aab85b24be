"""An image does not arrive on the node: it is refused, not there, too big for the disk, or takes for ever.

What happens
Images of model servers are eight to twenty gigabytes. A new node has to fetch them whole, from a registry
that must know the tag and the puller, through a network that must reach it, onto a disk that must hold them
twice while they are unpacked. Whatever fails of this, the pod waits.

How it shows
`ErrImagePull` and `ImagePullBackOff` with the registry's answer; `no space left on device`,
`FreeDiskSpaceFailed` or `ImageGCFailed` on the node; `Pulling image` for half an hour without `Pulled`.

When we stay silent
The image arrived since; the pull began minutes ago, or was refused for a moment (rate limit, network); the
image was renamed upstream, or is for another processor (another fault).

What we propose
The image that the owner's other pods run, where a new one is not there; the pull secret that others of the
namespace use for the same registry. Else advice for the kind of failure.

Sources
Azure/AKS#2433, kubernetes/kubernetes#59376; containerd 2.1 and CRI-O 1.33 pull errors; kubelet 1.37 image
manager.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.model import Ref
from tillerman.cluster.quantity import counted, duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_event, seen_object
from tillerman.patterns.images import Pull, failed_pulls, hurt_by_pull, images_in, split, successor

#: A refusal for a moment is retried within this time: the kubelet's back-off reaches 5 minutes.
PASSING_S = 600
#: A refusal that stays as it is (no such tag, no such right) says so at once; two tries are enough.
LASTING_S = 120
#: Twenty gigabytes in this time are 11 MB/s: no registry or disk of a GPU node is meant to be as slow.
SLOW_S = 1800
_PASSING = ("limited", "unreachable", "other")
_MEANS = {
    "space": "the node's disk has no room for it",
    "limited": "the registry limits how often this address may pull",
    "name": "its name cannot be parsed",
    "denied": "the registry does not let this pod have it",
    "missing": "the registry has no such image",
    "unreachable": "the registry cannot be reached from the node",
    "other": "the pull fails",
    "slow": "it is still being pulled",
}
_DISK_EVENTS = ("FreeDiskSpaceFailed", "ImageGCFailed", "EvictionThresholdMet")


@dataclass(frozen=True, kw_only=True)
class ImagePullSlowOrFails(Fault):
    """Pods of one owner that wait for an image."""

    layer = Layer.STAGING

    pull: Pull
    pods: int
    other: str
    secret: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners, or nodes without room, whose images do not arrive."""
        groups: dict[tuple[Ref, str], list[Pull]] = {}
        for pull in (*failed_pulls(cluster), *_slow(cluster)):
            least = PASSING_S if pull.kind in _PASSING else LASTING_S
            renamed = pull.kind in ("missing", "denied") and successor(pull.image, set())
            if pull.waits_s >= least and not renamed and pull.kind != "platform":
                groups.setdefault((_subject(cluster, pull), pull.container), []).append(pull)
        for (subject, _), pulls in groups.items():
            found = cls._of(cluster, subject, pulls)
            if found:
                yield found

    @classmethod
    def _of(cls, cluster: Snapshot, subject: Ref, pulls: list[Pull]) -> Self | None:
        pull = pulls[0]
        secret = _secret(cluster, pull) if pull.kind == "denied" else ""
        if pull.kind == "denied" and pull.pod.ref.key in cluster.whatif and pull.pod.spec.image_pull_secrets:
            return None
        owners = dict.fromkeys(one.owner for one in pulls)
        down = any(outage(cluster, owner) == "critical" for owner in owners)
        hurts = dict.fromkeys(ref for owner in owners for ref in hurt_by_pull(cluster, owner))
        return cls(
            subject=subject,
            severity="critical" if down else "warning",
            evidence=_evidence(cluster, pull),
            hurts=tuple(hurts),
            certainty="likely" if pull.kind in ("slow", "other") else "proven",
            pull=pull,
            pods=len(pulls),
            other=_other_image(cluster, pull) if pull.kind in ("missing", "denied", "name") else "",
            secret=secret,
        )

    def summary(self) -> str:
        """Which image, since when, and why not."""
        one = self.pull
        return (
            f"`{one.container}` of {counted(self.pods, 'pod')} has no image since {duration(one.waits_s)}: "
            f"{one.image}, {_MEANS[one.kind]}"
        )

    def explain(self) -> list[str]:
        """From the registry's answer to the wait."""
        one = self.pull
        instead = [f"the owner's other pods run {self.other}"] if self.other else []
        return [
            f"{_MEANS[one.kind]}: {one.said[:240]}",
            *instead,
            f"`{one.container}` is not made before its image is on {one.pod.spec.node_name}",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The image that others run, or the secret with which others pull."""
        one, change = self.pull, None
        if self.secret:
            have = [dict(secret) for secret in one.pod.spec.image_pull_secrets]
            why = f"others of {one.pod.namespace} pull from this registry with the secret `{self.secret}`"
            change = cluster.edit_pod(one.pod, "imagePullSecrets", [*have, {"name": self.secret}], why)
        elif self.other:
            why = f"{one.image} is not there; the owner's other pods run {self.other}"
            change = cluster.edit(one.pod, one.container, "image", self.other, why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """What to do about this kind of failure."""
        one, space, node = self.pull, self.pull.pod.namespace, self.pull.pod.spec.node_name
        repository = split(one.image)[0]
        registry = repository.split("/")[0]
        return {
            "missing": [f"`skopeo list-tags docker://{repository}` lists the tags that exist"],
            "name": ["an image is `registry/path:tag`, in lower case"],
            "denied": [
                f"`kubectl -n {space} create secret docker-registry pull --docker-server={registry} ...`, "
                "named in imagePullSecrets of the pod or its service account",
                "registries answer so for a name that does not exist, too: check the spelling",
            ],
            "limited": ["pull with an account, through a mirror of your own, or pre-pull with a DaemonSet"],
            "space": [
                f"`kubectl describe node {node}` shows DiskPressure and what the collector freed",
                "a larger boot disk: the image is there twice while it is unpacked",
            ],
            "unreachable": [f"`curl -sv https://{registry}/v2/` in a pod on {node} shows why"],
        }.get(one.kind, ["pre-pull with a DaemonSet, stream images, or keep them in a registry nearby"])


def _subject(cluster: Snapshot, pull: Pull) -> Ref:
    """The owner; the node, where its disk is full and it says so itself."""
    node = cluster.node(pull.pod.spec.node_name)
    if pull.kind == "space" and node:
        pressure = node.condition("DiskPressure")
        if cluster.events_about(node.ref, *_DISK_EVENTS) or (pressure and pressure.status == "True"):
            return node.ref
    return pull.owner


def _slow(cluster: Snapshot) -> Iterator[Pull]:
    """The images that have been on their way for very long, by the events of their pods."""
    for pod, trouble in cluster.troubled_as("creating"):
        if not pod.spec.node_name or cluster.standing_s(pod) < SLOW_S:
            continue
        told = cluster.events_about(pod.ref, "Pulling", "Pulled", "Failed", "BackOff", "FailedMount")
        if told and told[-1].reason == "Pulling":
            image = told[-1].text.partition('"')[2].partition('"')[0]
            names = [c.name for c in (*pod.spec.init_containers, *pod.spec.containers) if c.image == image]
            began = cluster.age_s(told[-1].last_seen) or 0.0
            if names and began >= SLOW_S:
                yield Pull(
                    pod=pod,
                    container=names[0] if trouble.container not in names else trouble.container,
                    image=image,
                    owner=cluster.owner_of(pod),
                    kind="slow",
                    said=told[-1].text,
                    waits_s=began,
                )


def _other_image(cluster: Snapshot, pull: Pull) -> str:
    """The image that ready pods of the owner run in this container, else the one that all others use."""
    repository = split(pull.image)[0]
    siblings = {
        c.image
        for pod in cluster.pods_of(pull.owner)
        for c in (*pod.spec.containers, *pod.spec.init_containers)
        if pod.ready and c.name == pull.container and c.image != pull.image
    }
    others = siblings or {image for image in images_in(cluster) if split(image)[0] == repository}
    return next(iter(others)) if len(others) == 1 and pull.image not in others else ""


def _secret(cluster: Snapshot, pull: Pull) -> str:
    """The one secret with which ready pods of the namespace pull from the same registry, and this one not."""
    registry = split(pull.image)[0].split("/")[0]
    mine = {str(s.get("name")) for s in pull.pod.spec.image_pull_secrets}
    names = {
        str(secret.get("name", ""))
        for pod in cluster.pods_in(pull.pod.namespace)
        for secret in pod.spec.image_pull_secrets
        if pod.ready and any(c.image.startswith(f"{registry}/") for c in pod.spec.containers)
    }
    lacking = {name for name in names - mine if "-dockercfg-" not in name}
    return next(iter(lacking)) if len(lacking) == 1 else ""


def _evidence(cluster: Snapshot, pull: Pull) -> tuple[Evidence, ...]:
    path = f"status.containerStatuses[{pull.container}].state.waiting"
    found = [seen_object(pull.pod.ref, path, pull.said), seen_object(pull.pod.ref, "image", pull.image)]
    node = cluster.node(pull.pod.spec.node_name)
    events = cluster.events_about(node.ref, *_DISK_EVENTS) if node and pull.kind == "space" else ()
    return (*found, *((seen_event(node.ref, events[-1]),) if node and events else ()))
