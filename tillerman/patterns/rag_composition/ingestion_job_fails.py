"""The Job that feeds the vector database fails or never gets through, and what people ask about is old.

What happens
Ingestion embeds thousands of chunks for hours through a server that others use too. A request that times out
ends the program, the Job runs out of tries or of time, the next one of the schedule starts from the
beginning; without a policy the slow ones pile up and slow each other.

How it shows
A Job `Failed` with BackoffLimitExceeded whose pod's log ends in timeouts or 503 of the embedding server; or
with DeadlineExceeded; several Jobs of one CronJob active at once under `concurrencyPolicy: Allow`.

When we stay silent
A later Job of the same schedule completed or runs; it has tries left; it was days ago; the Job does not
ingest, by its name and words; its pods never ran.

What we propose
Twice the deadline that it ran into; `concurrencyPolicy: Forbid` where its Jobs pile up. Else advice: smaller
batches, retries, an embedding server of its own.

Sources
infiniflow/ragflow#9023, #9446, sourcegraph/sourcegraph-public-snapshot#58869; Kubernetes documentation,
"Jobs".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.change import Change, Edit
from tillerman.cluster.logs import Line
from tillerman.cluster.model import Pod, Ref
from tillerman.cluster.objects import Object
from tillerman.cluster.quantity import duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, seen_log, seen_object

INGESTS = re.compile(r"(?i)ingest|embed|re-?index|vectori[sz]|chunk|\brag\b")
#: The embedding server is there and too slow: nothing is said here of one that is down.
SLOW = (
    r"(?i)read ?timeout|request timed out|timed out after \d|batch_encode timed out|timeouterror"
    r"|50[34] (?:service unavailable|gateway time-?out)|429 too many requests"
)
#: More Jobs of one schedule than this at once are a pile.
PILE = 3
#: Of the deadline that was too short.
GROWTH = 2
#: A failure longer ago than this is history that nobody cleared up.
RECENT_S = 2 * 86400


@dataclass(frozen=True, kw_only=True)
class IngestionJobFails(Fault):
    """One ingestion, by Job or schedule, that does not get through; `why` is timeouts, deadline or pile."""

    layer = Layer.TRAFFIC

    job: Object
    why: str
    deadline_s: int
    active: int
    said: str

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Ingestions that failed for good, or that pile up."""
        seen: set[Ref] = set()
        for job in cluster.all("Job"):
            owner = cluster.owner_of(job)
            found = None if owner in seen or not _ingests(cluster, job) else cls._of(cluster, owner, job)
            if found:
                seen.add(owner)
                yield found

    @classmethod
    def _of(cls, cluster: Snapshot, owner: Ref, job: Object) -> Self | None:
        pods = [pod for pod in cluster.pods_of(job.ref) if pod.spec.node_name]
        siblings = cluster.children_of(owner, "Job") or (job,)
        active = [one for one in siblings if one.count("status.active")]
        failed = job.condition("Failed")
        why, evidence = "", []
        recent = failed and (cluster.age_s(failed.last_transition_time) or 0.0) <= RECENT_S
        if failed and failed.status == "True" and recent and not _made_up(job, siblings):
            line = _slow(cluster, pods)
            if failed.reason == "DeadlineExceeded" and _deadline(cluster, owner, job):
                why, evidence = "deadline", [_said(job)]
            elif line:
                why, evidence = "timeouts", [_said(job), line[1]]
        elif _piles(cluster, owner, active):
            why = "pile"
            evidence = [
                seen_object(one.ref, "status.startTime", one.text("status.startTime")) for one in active
            ]
        if not why:
            return None
        told = _slow(cluster, pods)
        return cls(
            subject=owner,
            severity="warning",
            evidence=tuple(evidence[:4]),
            hurts=(owner, *(one.ref for one in siblings), *(pod.ref for pod in cluster.pods_of(owner))),
            certainty="proven" if why != "timeouts" else "likely",
            job=job,
            why=why,
            deadline_s=job.count("spec.activeDeadlineSeconds") or 0,
            active=len(active),
            said=told[0].text if told else "",
        )

    def summary(self) -> str:
        """How it ends."""
        if self.why == "deadline":
            return f"the ingestion {self.job.name} was ended at its deadline of {duration(self.deadline_s)}"
        if self.why == "pile":
            return f"{self.active} ingestions of one schedule run at once, none gets through"
        return f"the ingestion {self.job.name} failed for good: its embedding server is too slow for it"

    def explain(self) -> list[str]:
        """From the server that is shared to the old answers."""
        first = {
            "deadline": f"it needs more than {duration(self.deadline_s)}, and is ended then",
            "pile": "each starts although the one before still runs, and they slow each other",
            "timeouts": f"requests to the embedding server time out: {self.said[:200]}",
        }[self.why]
        return [
            first,
            "the next one begins from the start",
            "what is in the collection stays as old as it is",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A longer deadline, or one at a time."""
        owner = cluster.object_at(self.subject)
        if owner is None or self.why == "timeouts":
            return []
        path, after = "spec.concurrencyPolicy", "Forbid"
        why = "one ingestion at a time gets through"
        edit = Edit(path=path, before=owner.value(path), after=after)
        if self.why == "deadline":
            path = _deadline_path(owner)
            edit = Edit(path=path, before=owner.value(path), after=self.deadline_s * GROWTH)
            why = f"it was still at work after {duration(self.deadline_s)}"
        return [Change(target=owner.ref, edits=(edit,), why=why)]

    def advice(self) -> list[str]:
        """What makes an ingestion robust."""
        return [
            "embed in small batches, with retries and back-off, and keep what is done (idempotent upserts)",
            "give ingestion an embedding server of its own, or run it when the shared one is idle",
        ]


def _ingests(cluster: Snapshot, job: Object) -> bool:
    template = job.template
    containers = template.spec.containers if template else ()
    words = " ".join(w for c in containers for w in (c.name, c.image, *c.command, *c.args))
    return bool(INGESTS.search(f"{cluster.owner_of(job).name} {words}"))


def _made_up(job: Object, siblings: tuple[Object, ...]) -> bool:
    """Whether a later Job of the same schedule got through."""
    made = job.metadata.creation_timestamp
    later = [
        one
        for one in siblings
        if made and one.metadata.creation_timestamp and one.metadata.creation_timestamp > made
    ]
    return any(one.condition("Complete") or one.count("status.active") for one in later)


def _slow(cluster: Snapshot, pods: list[Pod]) -> tuple[Line, Evidence] | None:
    for pod in pods:
        for container in pod.spec.containers:
            log = cluster.log(pod, container.name)
            found = log.last(SLOW) if log else None
            if found:
                line = found[0]
                return line, seen_log(pod.ref, container.name, line.number, line.text)
    return None


def _said(job: Object) -> Evidence:
    failed = job.condition("Failed")
    return seen_object(
        job.ref, "status.conditions[Failed]", f"{failed.reason}: {failed.message}" if failed else ""
    )


def _deadline_path(owner: Object) -> str:
    return f"{'spec.jobTemplate.' if owner.kind == 'CronJob' else ''}spec.activeDeadlineSeconds"


def _deadline(cluster: Snapshot, owner: Ref, job: Object) -> bool:
    """Whether the deadline that a Job ran into is still the one that the next will have."""
    item, had = cluster.object_at(owner), job.count("spec.activeDeadlineSeconds")
    now = item.count(_deadline_path(item)) if item else None
    return had is not None and now is not None and now <= had


def _piles(cluster: Snapshot, owner: Ref, active: list[Object]) -> bool:
    """Whether a schedule lets its Jobs run beside each other, and several do, all of them at work."""
    schedule = cluster.object_at(owner)
    if schedule is None or schedule.kind != "CronJob" or len(active) < PILE:
        return False
    pods = [pod for one in active for pod in cluster.pods_of(one.ref)]
    at_work = all(pod.spec.node_name for pod in pods)
    return schedule.text("spec.concurrencyPolicy") in ("", "Allow") and bool(pods) and at_work
