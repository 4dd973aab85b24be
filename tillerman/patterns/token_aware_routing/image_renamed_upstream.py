"""An image has another name upstream now, or none for the node's processor, and pods cannot start with it.

What happens
Projects rename their images and remove the old packages (llm-d did with its endpoint picker and its sidecar).
Nodes that have the image go on; the first new node, or the first upgrade, finds nothing. An image without a
build for the node's processor (arm64 of a GB200) ends the same way, or with a program that cannot be run.

How it shows
`ImagePullBackOff` with `not found`, `manifest unknown` or `denied` for a name that was given up; `no match
for platform in manifest`, `no image found in image index for architecture`; a container that ends at once
with `exec format error`.

When we stay silent
The image arrived since; the pull fails for another reason (disk, rate limit, network); the name is one that
nobody gave up; for the processor: it runs elsewhere on one of the same kind.

What we propose
The new name, with a tag that others of the cluster use, else that of the first release under it, on the
object that a person edits; for the processor a node selector, where the pod's other nodes have one that runs
the image.

Sources
llm-d 0.8 release notes, kserve/kserve#5596, vllm-project/semantic-router#3408; containerd 2.1 and CRI-O 1.33
pull errors.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change
from tillerman.cluster.life import last_end
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.placement import gpus_of, unmatched, untolerated
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_log, seen_object
from tillerman.patterns.images import failed_pulls, hurt_by_pull, images_in, successor

#: Kinds of refusal that a name gets which is not there any more; registries do not tell strangers which.
_GONE = ("missing", "denied")
ARCH = "kubernetes.io/arch"
_WRONG_CODE = r"exec format error"


@dataclass(frozen=True, kw_only=True)
class ImageRenamedUpstream(Fault):
    """Pods of one owner whose image is not where, or not what, their manifest says."""

    layer = Layer.STAGING

    pod: Pod
    container: str
    image: str
    new: str
    arch: str
    other_arch: str
    pods: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Owners with an image of a name that was given up, or of another processor."""
        groups: dict[tuple[Ref, str], list[tuple[Pod, Evidence]]] = {}
        used = images_in(cluster)
        for pull in failed_pulls(cluster):
            renamed = pull.kind in _GONE and successor(pull.image, used)
            if renamed or (pull.kind == "platform" and not _elsewhere(cluster, pull.pod)):
                path = f"status.containerStatuses[{pull.container}].state.waiting"
                said = seen_object(pull.pod.ref, path, pull.said)
                groups.setdefault((pull.owner, pull.container), []).append((pull.pod, said))
        for pod, container, told in _unrunnable(cluster):
            groups.setdefault((cluster.owner_of(pod), container), []).append((pod, told))
        for (owner, container), found in groups.items():
            yield cls._of(cluster, owner, container, found)

    @classmethod
    def _of(cls, cluster: Snapshot, owner: Ref, name: str, found: list[tuple[Pod, Evidence]]) -> Self:
        pod, said = found[0]
        container = pod.container(name)
        image = container.image if container else ""
        new = successor(image, images_in(cluster)) or ""
        arch = "" if new else _arch(cluster, pod)
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=(
                said,
                seen_object(pod.ref, f"spec.containers[{name}].image", image),
                *((seen_object(pod.ref, "spec.nodeName", f"{pod.spec.node_name}, {arch}"),) if arch else ()),
            ),
            hurts=hurt_by_pull(cluster, owner),
            pod=pod,
            container=name,
            image=image,
            new=new,
            arch=arch,
            other_arch=_other_arch(cluster, pod, image) if not new else "",
            pods=len(found),
        )

    def summary(self) -> str:
        """The image, and its new name or its missing processor."""
        who = f"`{self.container}` of {counted(self.pods, 'pod')}"
        if self.new:
            return f"{who}: the image {self.image} was renamed upstream, its new name is {self.new}"
        return f"{who}: the image {self.image} has no build for {self.arch or 'the processor of its node'}"

    def explain(self) -> list[str]:
        """From the name to the pod that does not start."""
        if self.new:
            return [
                f"the project publishes this image as {self.new}; the old package was removed",
                "nodes that had it keep running it, every other node asks the registry and is refused",
                f"so `{self.container}` cannot start on a new node or after an upgrade",
            ]
        return [
            f"{self.pod.spec.node_name} has an {self.arch or 'other'} processor",
            f"the image {self.image} holds no program for it",
            f"so `{self.container}` is not pulled, or ends at once",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The new name; or nodes whose processor the image has."""
        change = None
        if self.new:
            why = f"{self.image} was removed upstream; it is published as {self.new}"
            change = cluster.edit(self.pod, self.container, "image", self.new, why)
        elif self.other_arch:
            why = f"the image runs on {self.other_arch}, which other nodes for this pod have"
            selector = {**self.pod.spec.node_selector, ARCH: self.other_arch}
            owner = cluster.object_at(self.subject)
            root = cluster.pod_spec_path(self.pod, owner) if owner else None
            if owner and root:
                selector = {**owner.table(f"{root}.nodeSelector"), ARCH: self.other_arch}
            change = cluster.edit_pod(self.pod, "nodeSelector", selector, why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """What comes with a new name, and how to check one."""
        if self.new:
            return [
                "read the release notes in between: flags and the configuration's apiVersion changed too",
                f"`crictl pull {self.new}` on a node, or a mirror of your own, tells whether it can be had",
            ]
        return [f"`docker buildx imagetools inspect {self.image}` lists the processors that it was built for"]


def _arch(cluster: Snapshot, pod: Pod) -> str:
    node = cluster.node(pod.spec.node_name)
    return (node.labels.get(ARCH) or str(node.status.node_info.get("architecture", ""))) if node else ""


def _elsewhere(cluster: Snapshot, pod: Pod) -> bool:
    """Whether the pods are told by now to go where another processor is, as in the what-if of our change."""
    wanted = pod.spec.node_selector.get(ARCH)
    return wanted is not None and wanted != _arch(cluster, pod)


def _unrunnable(cluster: Snapshot) -> Iterator[tuple[Pod, str, Evidence]]:
    """The containers that end at once because their program is for another processor."""
    for pod, trouble in cluster.troubled_as("crash-looping", "init-failing", "config"):
        status = trouble.status
        end = last_end(status) if status else None
        if status is None or _elsewhere(cluster, pod):
            continue
        log = cluster.last_words(pod, trouble.container)
        line = log.lines[0] if log and len(log.lines) == 1 else None
        waiting = status.state.waiting
        for text in ((end.message if end else ""), waiting.message if waiting else ""):
            if re.search(_WRONG_CODE, text):
                path = f"status.containerStatuses[{trouble.container}]"
                yield pod, trouble.container, seen_object(pod.ref, path, text)
                break
        else:
            if line and re.search(_WRONG_CODE, line.text):
                told = seen_log(pod.ref, trouble.container, line.number, line.text)
                yield pod, trouble.container, told


def _other_arch(cluster: Snapshot, pod: Pod, image: str) -> str:
    """Another processor that runs the image, or that all other nodes with room for the pod's GPUs have."""
    mine = _arch(cluster, pod)
    runs = {
        _arch(cluster, p)
        for p in cluster.pods
        if p.ready and any(c.image == image for c in p.spec.containers)
    }
    asked = gpus_of(pod.spec)
    able = {
        node.labels.get(ARCH, "")
        for node in cluster.nodes
        if not untolerated(pod.spec, node)
        and not unmatched(pod.spec, node.labels)
        and all(cluster.allocatable_gpus(node).get(name, 0) >= count for name, count in asked.items())
    }
    others = (able & runs or able) - {mine, ""}
    return next(iter(others)) if len(others) == 1 and mine else ""
