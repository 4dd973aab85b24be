"""Steps that fetch a model and fail: storage initializers, init containers, servers, download Jobs."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tillerman.cluster.boot import boot_of
from tillerman.cluster.change import ABSENT
from tillerman.cluster.life import last_end
from tillerman.cluster.logs import Line, Log
from tillerman.cluster.model import Container, ContainerStatus, Pod, Ref, Terminated
from tillerman.cluster.objects import Object
from tillerman.cluster.places import STORAGE_INITIALIZER
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Severity, outage, seen_log, seen_object

#: Where an InferenceService and an LLMInferenceService name their model's source.
URI_PATHS = (
    "spec.predictor.model.storageUri",
    "spec.model.uri",
    "spec.sourceModelUri",
)
#: Where an InferenceService keeps the last words of a container that failed.
_FAILURE = "status.modelStatus.lastFailureInfo.message"
#: Kinds of download caches: their Jobs are owned by a node's object, people change the cache.
CACHES = ("LocalModelCache", "LocalModelNamespaceCache")


#: What steps that fetch a model have in their name, image or command.
_FETCHES = re.compile(
    r"(?i)storage-init|download|fetch|prefetch|snapshot|\b(?:model|weights?)\b|huggingface|\bhf\b|hf[-_]|s3|rclone|gsutil"
)


@dataclass(frozen=True, kw_only=True)
class Download:
    """A container that failed before it had its model, and the object that a person would change."""

    pod: Pod
    container: Container
    status: ContainerStatus
    owner: Ref
    log: Log | None

    @property
    def end(self) -> Terminated | None:
        """How it last ended."""
        return last_end(self.status)

    @property
    def initial(self) -> bool:
        """Whether it is an init container."""
        return any(c.name == self.container.name for c in self.pod.spec.init_containers)

    @property
    def fetches(self) -> bool:
        """Whether it is a step that fetches a model before the server starts, by its name, image or words."""
        words = " ".join(
            (self.container.name, self.container.image, *self.container.command, *self.container.args)
        )
        job = self.pod.spec.restart_policy != "Always"
        return (self.initial or job) and bool(_FETCHES.search(words))

    @property
    def path(self) -> str:
        """The path of its status in the pod."""
        return f"status.{'initC' if self.initial else 'c'}ontainerStatuses[{self.container.name}]"

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """How it ended, and how often."""
        end = self.end
        ended = f"exit {end.exit_code} {end.reason}".strip() if end else "no end seen"
        return (
            seen_object(self.pod.ref, f"{self.path}.restartCount", self.status.restart_count),
            seen_object(self.pod.ref, f"{self.path}.lastState.terminated", ended),
        )


class Said(NamedTuple):
    """A failed download, the line that gives the cause, and the match in it."""

    download: Download
    line: Line
    found: re.Match[str]

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The line, then how it ended."""
        one = self.download
        return seen_log(one.pod.ref, one.container.name, self.line.number, self.line.text), *one.evidence


def failed_downloads(cluster: Snapshot) -> Iterator[Download]:
    """The containers that fail before their model is there, in the pods' order."""
    for pod, trouble in cluster.troubled_as("init-failing", "crash-looping", "failed"):
        container = pod.container(trouble.container)
        status = trouble.status
        if container is None or status is None or (trouble.kind == "failed" and _made_up(cluster, pod)):
            continue
        log = _log(cluster, pod, status)
        boot = None if trouble.kind == "init-failing" else boot_of(log, cluster.now)
        if boot is None or not boot.complete:
            owner = subject_of(cluster, pod)
            yield Download(pod=pod, container=container, status=status, owner=owner, log=log)


def downloads_saying(cluster: Snapshot, pattern: str) -> Iterator[tuple[Ref, tuple[Said, ...]]]:
    """The failed downloads whose log gives this cause, by the object that a person would change."""
    groups: dict[Ref, list[Said]] = {}
    for one in failed_downloads(cluster):
        found = one.log.first(pattern) if one.log else None
        if found:
            groups.setdefault(one.owner, []).append(Said(one, *found))
    for owner, said in groups.items():
        yield owner, tuple(said)


def subject_of(cluster: Snapshot, pod: Pod) -> Ref:
    """The object a person would change: for a download Job of a cache the cache, else the pod's owner."""
    cache = cache_of(cluster, pod)
    return cache.ref if cache else cluster.owner_of(pod)


def cache_of(cluster: Snapshot, pod: Pod) -> Object | None:
    """The cache that a download Job's pod works for."""
    job = next((ref for ref in cluster.owners_of(pod) if ref.kind == "Job"), None)
    found = cluster.object_at(job) if job else None
    wanted = found.labels.get("model", "") if found else ""
    words = {word for c in pod.spec.containers for word in c.args}
    for cache in (cache for kind in CACHES for cache in cluster.all(kind)) if job else ():
        if cache.name == wanted or (not wanted and cache.text("spec.sourceModelUri") in words):
            return cache
    return None


def hurt_with(cluster: Snapshot, failed: Iterable[Download]) -> tuple[Ref, ...]:
    """What failed downloads account for: owners and pods, and the services that wait for a cache."""
    found: dict[Ref, None] = {}
    for one in failed:
        found |= dict.fromkeys((one.owner, one.pod.ref))
        cache = cache_of(cluster, one.pod)
        served = tuple(_waiting_for(cluster, cache)) if cache else (one.owner,)
        jobs = (ref for ref in cluster.owners_of(one.pod) if ref.kind in ("Job", "Deployment"))
        down = (p.ref for owner in served for p in cluster.pods_of(owner) if not p.ready and not p.finished)
        found |= dict.fromkeys((*jobs, *served, *down))
    return tuple(found)


def severity_of(cluster: Snapshot, failed: Iterable[Download]) -> Severity:
    """Critical when a service that waits for one of these downloads has no pod that serves."""
    owners = [ref for ref in hurt_with(cluster, failed) if ref.kind not in ("Pod", "Job")]
    return "critical" if any(outage(cluster, owner) == "critical" for owner in owners) else "warning"


def uri_of(cluster: Snapshot, pod: Pod) -> str:
    """The source of a pod's model as its owner names it now, else as its initializer was told; or ""."""
    cache = cache_of(cluster, pod)
    owner = cache or cluster.object_at(cluster.owner_of(pod))
    for path in URI_PATHS if owner else ():
        if owner and owner.text(path):
            return owner.text(path)
    initializer = pod.container(STORAGE_INITIALIZER)
    return initializer.args[0] if initializer and initializer.args else ""


def uri_path(owner: Object) -> str | None:
    """The path of the field where an owner names its model's source, or None."""
    return next((path for path in URI_PATHS if owner.value(path) is not ABSENT), None)


def changed(cluster: Snapshot, one: Download) -> bool:
    """Whether a what-if gave this pod another configuration: what its log says is of the old one."""
    account = ("ServiceAccount", one.pod.namespace, one.pod.spec.service_account_name or "default")
    return bool({one.pod.ref.key, one.owner.key, account} & cluster.whatif)


def _waiting_for(cluster: Snapshot, cache: Object) -> Iterator[Ref]:
    for field, kind in (
        ("inferenceServices", "InferenceService"),
        ("llmInferenceServices", "LLMInferenceService"),
    ):
        for named in cache.items(f"status.{field}"):
            space, name = str(named.get("namespace", "")), str(named.get("name", ""))
            found = cluster.get(kind, space, name)
            if found:
                yield found.ref


def _log(cluster: Snapshot, pod: Pod, status: ContainerStatus) -> Log | None:
    """What a container said last; where no log was seen, the end of it that the kubelet or KServe kept."""
    log = cluster.last_words(pod, status.name)
    if log and log.lines:
        return log
    end, owner = last_end(status), cluster.object_at(cluster.owner_of(pod))
    kept = (end.message if end else "") or (owner.text(_FAILURE) if owner else "")
    return Log(text=kept) if kept else log


def _made_up(cluster: Snapshot, pod: Pod) -> bool:
    """Whether what a failed pod had to do was done since: its Job or a later one completed, others serve."""
    ref = next((ref for ref in cluster.owners_of(pod) if ref.kind == "Job"), None)
    job = cluster.object_at(ref) if ref else None
    if job is None:
        return any(p.ready for p in cluster.pods_of(cluster.owner_of(pod)))
    made = job.metadata.creation_timestamp
    for one in (job, *cluster.children_of(cluster.owner_of(pod), "Job")):
        later = made and one.metadata.creation_timestamp and one.metadata.creation_timestamp >= made
        if (one is job or later) and (one.condition("Complete") or one.count("status.succeeded")):
            return True
    return False
