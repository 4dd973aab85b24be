"""Images that do not arrive: what the kubelet says of a pull, by kind, and names that projects gave up."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.snapshot import Snapshot

#: Why a pull fails, and how containerd 2.x, CRI-O 1.3x and registries say so. The first match counts.
_KINDS = (
    (
        "platform",
        r"no match for platform|no image found in (?:image index|manifest list)|no matching manifest",
    ),
    ("space", r"no space left on device|disk quota exceeded"),
    ("limited", r"toomanyrequests|429 Too Many|rate limit"),
    ("name", r"couldn't parse image|InvalidImageName|invalid reference format"),
    (
        "denied",
        r"(?i)unauthorized|authentication required|access denied|denied:|403 forbidden|no basic auth"
        r"|not authorized|insufficient_scope",
    ),
    (
        "missing",
        r"(?i)manifest unknown|name unknown|: not found|code = NotFound|does not exist|404 Not Found",
    ),
    (
        "unreachable",
        r"(?i)no such host|i/o timeout|connection refused|deadline exceeded|tls handshake|x509"
        r"|server misbehaving|network is unreachable|50[234] ",
    ),
)
#: Repositories that were given up, and what replaced them. Tags are those of the first release under the new
#: name; an empty one is kept. Sources: llm-d 0.8 release notes, kserve/kserve#5596,
#: vllm-project/semantic-router#3408; Bitnami's announcement of 2025-08; kubernetes/registry.k8s.io.
RENAMED = (
    (r"(^|/)llm-d-inference-scheduler$", r"\1llm-d-router-endpoint-picker", "v0.9.0"),
    (r"(^|/)llm-d-routing-sidecar$", r"\1llm-d-router-disagg-sidecar", "v0.9.0"),
    (r"^(docker\.io/)?bitnami/", r"docker.io/bitnamilegacy/", ""),
    (r"^k8s\.gcr\.io/", "registry.k8s.io/", ""),
)


@dataclass(frozen=True, kw_only=True)
class Pull:
    """One image that a pod waits for in vain; `kind` as above, or `other`."""

    pod: Pod
    container: str
    image: str
    owner: Ref
    kind: str
    said: str
    waits_s: float


def failed_pulls(cluster: Snapshot) -> Iterator[Pull]:
    """The images that pods fail to pull now, in the pods' order."""
    for pod, trouble in cluster.troubled_as("image"):
        container, status = pod.container(trouble.container), trouble.status
        waiting = status.state.waiting if status else None
        if container is None or waiting is None:
            continue
        if pod.ref.key in cluster.whatif and container.image not in waiting.message:
            continue  # what was refused is the image it had before
        said = f"{waiting.reason}: {waiting.message}"
        event = cluster.event_saying(pod.ref, f'"{container.image}"', "Failed")
        kind = _kind(said)
        if kind == "other" and event:
            said, kind = event.text, _kind(event.text)
        yield Pull(
            pod=pod,
            container=container.name,
            image=container.image,
            owner=cluster.owner_of(pod),
            kind=kind,
            said=said,
            waits_s=cluster.standing_s(pod),
        )


def _kind(said: str) -> str:
    return next((kind for kind, pattern in _KINDS if re.search(pattern, said)), "other")


def split(image: str) -> tuple[str, str]:
    """An image's repository and its tag or digest, with the separator: `ghcr.io/a/b`, `:v1`."""
    found = re.match(r"^(.+?)(@sha256:\w+|:[\w.-]+)?$", image)
    return (found[1], found[2] or "") if found else (image, "")


def successor(image: str, used: set[str]) -> str | None:
    """The name of an image whose repository was given up; None when it was not.

    A tag that others of the cluster use for the new name is taken before ours.
    """
    repository, tag = split(image)
    for pattern, replacement, first in RENAMED:
        if re.search(pattern, repository):
            renamed = re.sub(pattern, replacement, repository)
            same = sorted(other for other in used if split(other)[0] == renamed)
            return same[-1] if same else renamed + (f":{first}" if first else tag)
    return None


def images_in(cluster: Snapshot, namespace: str | None = None) -> set[str]:
    """The images of containers that run and are ready."""
    pods = cluster.pods if namespace is None else cluster.pods_in(namespace)
    found = set()
    for pod in pods:
        ready = {
            s.name for s in (*pod.status.container_statuses, *pod.status.init_container_statuses) if s.ready
        }
        found |= {c.image for c in (*pod.spec.containers, *pod.spec.init_containers) if c.name in ready}
    return found


def hurt_by_pull(cluster: Snapshot, owner: Ref) -> tuple[Ref, ...]:
    """An owner, and its pods that are not ready."""
    return owner, *(pod.ref for pod in cluster.pods_of(owner) if not pod.ready and not pod.finished)
