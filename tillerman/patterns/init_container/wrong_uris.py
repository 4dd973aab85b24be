"""Models that are not where a service says: what the log, the kubelet, the scheduler or KServe says of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.downloads import Download, changed, failed_downloads, subject_of, uri_of
from tillerman.patterns.fault import Evidence, seen_log, seen_object
from tillerman.patterns.init_container.accounts import holds_token
from tillerman.patterns.init_container.uris import claims_of, misspelled

#: The kind of mistake, and the line that gives it; a group holds what was looked for. The first line counts.
#: Sources: KServe 0.8-0.20 storage module; vLLM 0.32 and huggingface_hub 1.x, captured and read.
LINES = (
    (
        "form",
        r"Invalid Hugging Face URI format.*got '([^']*)'|URI must contain exactly one '/'"
        r"|(?:[Rr]epository (?:name|owner)|[Mm]odel name) cannot be empty",
    ),
    ("scheme", r"Cannot recognize storage type for (\S+)"),
    ("claim-path", r"Cannot locate source uri (\S+) for PVC"),
    ("empty", r"Failed to fetch model\. No model found in (\S+?)\.?$|Local path (\S+) does not exist"),
    ("offline", r"outgoing traffic has been disabled|offline mode is enabled"),
    (
        "cache",
        r"Permission denied: '(/[^']*\.(?:cache|config|triton)[^']*)'"
        r"|trying to write in your cache folder \(([^)]+)\)",
    ),
    ("revision", r"RevisionNotFoundError|Invalid rev id|is not a valid git identifier"),
    (
        "repository",
        r"Repository Not Found for url: \S*huggingface\.co/(?:api/models/)?([\w.-]+/[\w.-]+)"
        r"|RepositoryNotFoundError|Invalid repository ID or local directory specified: '([^/.'][^']*)'"
        r"|Hugging ?Face resource\b.*not found|(?<![/\w])([\w-][\w.-]*(?:/[\w.-]+)?) is not a local folder",
    ),
    (
        "path",
        r"Repo id must be in the form .*: '(/[^']*)'"
        r"|Invalid repository ID or local directory specified: '([/.][^']*)'"
        r"|Can't load the configuration of '(/[^']+)'|(/[\w./-]+) is not a local folder"
        r"|No such file or directory: '(/[^']*(?:(?<!adapter_)config\.json|/mnt/models[^']*))'",
    ),
    ("weights", r"Cannot find any model weights with `([^`]+)`"),
)
#: The hub's answer when it does not know who asks: then the model may as well be private. And what a hub says
#: that was not reached: then nothing is known of the model.
_STRANGER = r"\b401\b"
_UNREACHED = (
    r"(?i)max retries exceeded|connection ?error|connect ?timeout|name resolution|name or service|\b429\b"
)
_LOST_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_SUBPATH = re.compile(r'failed to (?:prepare|create) subPath\w* .*volumeMount "([^"]+)"')
_SCHEMA = re.compile(r"unsupported (?:schema|scheme|protocol)[^:]*: (\S+)")
#: A claim that a StatefulSet is making is there within this time.
MAKING_S = 120


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One service that looks for its model in vain.

    `kind` is one of LINES, or `claim`, `subpath`, `schema`; `sought` what it looks for, "" when unknown.
    """

    owner: Ref
    kind: str
    sought: str
    said: str
    evidence: tuple[Evidence, ...]
    pod: Pod | None = None
    container: str = ""
    download: Download | None = None


def missing_models(cluster: Snapshot) -> Iterator[Missing]:
    """Every service whose model is not where it looks."""
    yield from _by_log(cluster)
    yield from _by_claim(cluster)
    yield from _by_subpath(cluster)
    yield from _by_condition(cluster)


def _by_log(cluster: Snapshot) -> Iterator[Missing]:
    whole = "|".join(f"(?:{pattern})" for _, pattern in LINES)
    for one in failed_downloads(cluster):
        line = one.log.first(whole) if one.log else None
        if line is None or changed(cluster, one):
            continue
        kind, found = next((k, m) for k, p in LINES if (m := re.search(p, line[0].text)))
        sought = next((group for group in found.groups() if group), "")
        if kind == "repository" and not _known_to_be_missing(cluster, one, sought):
            continue
        yield Missing(
            owner=one.owner,
            kind=kind,
            sought=sought,
            said=line[0].text,
            evidence=(
                seen_log(one.pod.ref, one.container.name, line[0].number, line[0].text),
                *one.evidence,
            ),
            pod=one.pod,
            container=one.container.name,
            download=one,
        )


def _known_to_be_missing(cluster: Snapshot, one: Download, sought: str) -> bool:
    """Whether the hub was reached, and knew who asked or was asked for a name that is nearly another's."""
    if one.log is None or one.log.first(_UNREACHED):
        return False
    named = uri_of(cluster, one.pod) or sought
    known = holds_token(one.container) or not one.log.first(_STRANGER)
    return known or misspelled(cluster, named) is not None


def _by_claim(cluster: Snapshot) -> Iterator[Missing]:
    """Pods that wait for a claim that does not exist; those of a download cache are another matter."""
    if not cluster.sees("PersistentVolumeClaim"):
        return
    for pod, _ in cluster.troubled_as("unschedulable"):
        message = cluster.scheduling_message(pod)
        found = _LOST_CLAIM.search(message)
        cached = "internal.serving.kserve.io/localmodel" in pod.labels
        claim = found[1] if found else ""
        if not claim or cached or cluster.get("PersistentVolumeClaim", pod.namespace, claim):
            continue
        made_anew = pod.ref.key in cluster.whatif or claim not in claims_of(pod).values()
        if not made_anew and cluster.standing_s(pod) >= MAKING_S:
            yield Missing(
                owner=cluster.owner_of(pod),
                kind="claim",
                sought=claim,
                said=message,
                evidence=(seen_object(pod.ref, "status.conditions[PodScheduled].message", message),),
                pod=pod,
            )


def _by_subpath(cluster: Snapshot) -> Iterator[Missing]:
    """Containers that cannot be made because the folder of their claim is not there."""
    for pod, trouble in cluster.troubled_as("config"):
        waiting = trouble.status.state.waiting if trouble.status else None
        found = _SUBPATH.search(waiting.message) if waiting else None
        container = pod.container(trouble.container)
        if found is None or waiting is None or container is None or pod.ref.key in cluster.whatif:
            continue
        mount = next((m for m in container.volume_mounts if m.name == found[1] and m.sub_path), None)
        if mount and mount.name in claims_of(pod):
            path = f"status.containerStatuses[{container.name}].state.waiting"
            yield Missing(
                owner=cluster.owner_of(pod),
                kind="subpath",
                sought=mount.sub_path,
                said=waiting.message,
                evidence=(
                    seen_object(pod.ref, path, f"{waiting.reason}: {waiting.message}"),
                    seen_object(pod.ref, f"spec.volumeMounts[{mount.name}].subPath", mount.sub_path),
                ),
                pod=pod,
                container=container.name,
            )


def _by_condition(cluster: Snapshot) -> Iterator[Missing]:
    """Services whose URI has a scheme that KServe refuses, so that no pod is made."""
    for item in cluster.all("LLMInferenceService"):
        for condition in item.conditions:
            found = _SCHEMA.search(condition.message) if condition.status == "False" else None
            if found and item.text("spec.model.uri") == found[1]:
                said = f"{condition.reason}: {condition.message}"
                evidence = seen_object(item.ref, f"status.conditions[{condition.type}]", said)
                yield Missing(owner=item.ref, kind="schema", sought=found[1], said=said, evidence=(evidence,))
                break


def sought_now(cluster: Snapshot, one: Missing) -> str:
    """What the service looks for: its URI, else what the message named."""
    return (uri_of(cluster, one.pod) if one.pod else "") or one.sought


def pods_hurt(cluster: Snapshot, one: Missing) -> tuple[Ref, ...]:
    """The owner and those of its pods that are not there yet, or not ready."""
    down = (p.ref for p in cluster.pods_of(one.owner) if not p.ready and not p.finished)
    owner = subject_of(cluster, one.pod) if one.pod else one.owner
    return tuple(dict.fromkeys((owner, *((one.pod.ref,) if one.pod else ()), *down)))
