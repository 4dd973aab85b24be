"""The step that downloads the model takes more memory than its limit allows, and the kernel kills it.

What happens
The storage initializer has a memory limit of its own, 1Gi by default, whatever the server may use. Parallel
and chunked downloads of a big repository buffer more than that; the kernel kills the step at the limit, the
kubelet starts it again, and it dies at the same place.

How it shows
An init container (or a download Job) with last state `OOMKilled`, exit 137; its log stops in the middle of
the download, without an error; the InferenceService stays Pending or Loading and says nothing of it.

When we stay silent
The step has completed since; it ended otherwise; it has no memory limit.

What we propose
A limit of 4Gi, of 8Gi for weights of more than 40 GiB, and of twice the old limit at the least, where it is
set: in the owner, in the ClusterStorageContainer that gives the container, or in `storageInitializer` of the
ConfigMap `inferenceservice-config` (the only one that an LLMInferenceService reads).

Sources
kserve/kserve#5326, #5162, #5412, #6024; opendatahub-io/kserve#895; huggingface/huggingface_hub#3300; KServe
0.20 `config/storagecontainers/default.yaml`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.life import REPEATED
from tillerman.cluster.model import Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.places import STORAGE_INITIALIZER
from tillerman.cluster.quantity import GIB, counted, gibibytes, quantity, whole_gi
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import (
    CACHES,
    Download,
    failed_downloads,
    hurt_with,
    severity_of,
    uri_of,
)
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_log, seen_object
from tillerman.sizing.weights import weights_of

#: Enough for the downloader's buffers, and for those of a big repository. Source: reports in kserve#5162 (7B:
#: 2Gi, 72B: 16Gi with page cache) and the values that operators settled on in kserve#5326.
ENOUGH_BYTES = 4 * GIB
ENOUGH_FOR_BIG_BYTES = 8 * GIB
BIG_WEIGHTS_BYTES = 40 * GIB
#: Where the limit was near that already, it was not enough: then this many times the limit.
GROWTH = 2

#: The exit code of a process that was killed with SIGKILL, by the kernel too.
SIGKILL = 137

CONFIG = "inferenceservice-config"
CONFIG_PATH = "data.storageInitializer"
STORAGE_PATH = "spec.container.resources.limits.memory"
_LIMIT = re.compile(r'("memoryLimit"\s*:\s*")([^"]*)(")')


@dataclass(frozen=True, kw_only=True)
class StorageInitializerOomkilled(Fault):
    """Download steps that are killed at one memory limit, by the object that sets it."""

    layer = Layer.STAGING

    download: Download
    limit_bytes: float
    source: Object | None
    path: str
    owners: int
    model: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Limits at which download steps die and do not get through."""
        groups: dict[Ref, list[tuple[Download, Object | None, str]]] = {}
        for one in failed_downloads(cluster):
            if not one.fetches or not _killed(one):
                continue
            source, path = _source(cluster, one)
            subject = source.ref if source else one.owner
            if subject.key not in cluster.whatif or not (source and _raised(source, path)):
                groups.setdefault(subject, []).append((one, source, path))
        for subject, found in groups.items():
            yield cls._of(cluster, subject, found)

    @classmethod
    def _of(cls, cluster: Snapshot, subject: Ref, found: list[tuple[Download, Object | None, str]]) -> Self:
        downloads = [one for one, _, _ in found]
        worst = max(downloads, key=lambda one: one.status.restart_count)
        owners = tuple(dict.fromkeys(one.owner for one in downloads))
        return cls(
            subject=subject,
            severity=severity_of(cluster, downloads),
            evidence=_evidence(worst, found[0][1], found[0][2]),
            hurts=hurt_with(cluster, downloads),
            certainty="proven" if any(_reason(one) == "OOMKilled" for one in downloads) else "likely",
            download=worst,
            limit_bytes=_limit(worst),
            source=found[0][1],
            path=found[0][2],
            owners=len(owners),
            model=uri_of(cluster, worst.pod),
        )

    @property
    def wanted_bytes(self) -> float:
        """A limit that is enough for what is downloaded."""
        weights = weights_of(self.model.partition("://")[2])
        big = weights is not None and weights.high_bytes > BIG_WEIGHTS_BYTES
        return max(ENOUGH_FOR_BIG_BYTES if big else ENOUGH_BYTES, self.limit_bytes * GROWTH)

    def summary(self) -> str:
        """The limit, where it comes from, and how often it killed."""
        one = self.download
        of = f" of {counted(self.owners, 'service')}" if self.owners > 1 else ""
        model = f" while it fetches {self.model}" if self.model else ""
        return (
            f"`{one.container.name}`{of} is OOMKilled at its memory limit of {gibibytes(self.limit_bytes)}"
            f"{model}, {counted(one.status.restart_count, 'restart')}"
        )

    def explain(self) -> list[str]:
        """From the limit to the server that never starts."""
        where = f", set by {self.source.ref}" if self.source else ""
        return [
            f"the step that downloads the model may use {gibibytes(self.limit_bytes)}{where}",
            "the downloader buffers several files and chunks at once, and takes more",
            "the kernel kills it at the limit, so no log gives a reason and the download begins anew",
            "the server behind it never starts",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A higher limit, where it is set."""
        if self.source is None:
            return []
        before = self.source.value(self.path)
        after = whole_gi(self.wanted_bytes)
        why = f"{gibibytes(self.limit_bytes)} is less than the buffers of this download; {after} holds them"
        if self.source.kind == "ConfigMap":
            after = _LIMIT.sub(rf"\g<1>{after}\g<3>", str(before))
        return [
            Change(target=self.source.ref, edits=(Edit(path=self.path, before=before, after=after),), why=why)
        ]

    def advice(self) -> list[str]:
        """What a person does after the change, or instead of it."""
        pod = self.download.pod
        found = [
            f"`kubectl -n {pod.namespace} delete pod {pod.name}`: only a new pod has the new limit",
            "`HF_HUB_DISABLE_XET=1` or fewer workers in the step's environment lower what it takes",
        ]
        if self.source is None:
            found.insert(
                0, "`kubectl get clusterstoragecontainer default -o yaml` shows the limit; raise it there"
            )
        return found


def _reason(one: Download) -> str:
    return one.end.reason if one.end else ""


def _killed(one: Download) -> bool:
    """Whether the step was killed for its memory: said so, or killed again and again without a word."""
    if not _limit(one) or one.end is None:
        return False
    if _reason(one) == "OOMKilled":
        return True
    silent = one.log is None or not one.log.first(r"(?i)\berror\b|exception|traceback|sigterm")
    return one.initial and one.end.exit_code == SIGKILL and one.status.restart_count >= REPEATED and silent


def _limit(one: Download) -> float:
    return quantity(one.container.resources.limits.get("memory")) or 0.0


def _raised(source: Object, path: str) -> bool:
    """Whether the limit that a what-if gave to the source is enough."""
    return (_sets(source, path) or 0.0) >= ENOUGH_BYTES


def _source(cluster: Snapshot, one: Download) -> tuple[Object | None, str]:
    """The object that sets the limit, and its path; none when no object that was read has this limit."""
    owner = cluster.object_at(cluster.owner_of(one.pod))
    root = cluster.pod_spec_path(one.pod, owner) if owner else None
    for listing in ("initContainers", "containers") if owner and root else ():
        for at, item in enumerate(owner.items(f"{root}.{listing}") if owner else ()):
            if isinstance(item, dict) and item.get("name") == one.container.name:
                return owner, f"{root}.{listing}[{at}].resources.limits.memory"
    if one.container.name != STORAGE_INITIALIZER and one.owner.kind not in CACHES:
        return None, ""
    configs = [(item, CONFIG_PATH) for item in cluster.all("ConfigMap") if item.name == CONFIG]
    uri = uri_of(cluster, one.pod)
    fitting = sorted(cluster.all("ClusterStorageContainer"), key=lambda item: not _takes(item, uri))
    storage = [(item, STORAGE_PATH) for item in fitting]
    order = (*configs, *storage) if one.owner.kind == "LLMInferenceService" else (*storage, *configs)
    for item, path in order:
        if _sets(item, path) == _limit(one) or item.ref.key in cluster.whatif:
            return item, path
    return None, ""


def _takes(item: Object, uri: str) -> bool:
    """Whether a storage container is meant for a URI, by its prefixes."""
    formats = (f for f in item.items("spec.supportedUriFormats") if isinstance(f, dict))
    return any(f.get("prefix") and uri.startswith(str(f["prefix"])) for f in formats)


def _sets(item: Object, path: str) -> float | None:
    """The memory limit that an object gives to storage initializers."""
    if item.kind != "ConfigMap":
        found = item.value(path)
        return quantity(found) if isinstance(found, str | int) else None
    text = _LIMIT.search(item.text(path))
    return quantity(text[2]) if text else None


def _evidence(one: Download, source: Object | None, path: str) -> tuple[Evidence, ...]:
    listing = "initContainers" if one.initial else "containers"
    field = f"spec.{listing}[{one.container.name}].resources.limits.memory"
    found = [seen_object(one.pod.ref, field, one.container.resources.limits.get("memory", "")), *one.evidence]
    if source:
        said = source.value(path)
        text = _LIMIT.search(str(said)) if source.kind == "ConfigMap" else None
        found.append(seen_object(source.ref, path, text[0] if text else said))
    if one.log and one.log.lines:
        last = one.log.lines[-1]
        found.append(seen_log(one.pod.ref, one.container.name, last.number, last.text))
    return tuple(found)
