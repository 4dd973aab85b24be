"""Model servers that end by themselves: the first error they printed, by the object a person would change."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tillerman.cluster.boot import boot_of
from tillerman.cluster.enginelog import EngineLog, engine_log
from tillerman.cluster.life import REPEATED, ended_recently, last_end
from tillerman.cluster.logs import Line, Log
from tillerman.cluster.model import ContainerStatus, Pod, Ref, Terminated
from tillerman.cluster.servers import Server
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, seen_log, seen_object

#: Ends of a container that is ready now, from which on their rhythm says whether there will be another.
RECURRING = 4


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A model server that is not ready because its last life failed; `log` is that life's, or None."""

    server: Server
    end: Terminated
    restarts: int
    log: Log | None

    @property
    def pod(self) -> Pod:
        """The server's pod."""
        return self.server.pod

    @property
    def container(self) -> str:
        """The name of the server's container."""
        return self.server.container.name

    @cached_property
    def ran(self) -> EngineLog:
        """What the log says that life ran with."""
        return engine_log(self.log)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """How it ended, and how often."""
        return ending(self.pod, self.container)


class Said(NamedTuple):
    """A crash, the line that gives its cause, and the match in it."""

    crash: Crash
    line: Line
    found: re.Match[str]

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The line, then how it ended."""
        crash = self.crash
        return (seen_log(crash.pod.ref, crash.container, self.line.number, self.line.text), *crash.evidence)


def crashes(cluster: Snapshot) -> Iterator[Crash]:
    """The model servers whose last life failed and that have not come up since, in the pods' order."""
    for server in cluster.servers:
        pod = server.pod
        status = pod.status_of(server.container.name)
        end = last_end(status) if status else None
        if status is None or end is None or status.ready or not end.exit_code:
            continue
        if still_failing(cluster, pod, status):
            log = cluster.last_words(pod, server.container.name)
            yield Crash(server=server, end=end, restarts=status.restart_count, log=log)


def crashes_saying(cluster: Snapshot, pattern: str) -> Iterator[tuple[Ref, tuple[Said, ...]]]:
    """The crashed servers whose log gives this cause of a start that failed, by owner and container."""
    groups: dict[tuple[Ref, str], list[Said]] = {}
    for crash in crashes(cluster):
        found = crash.log.first(pattern) if crash.log else None
        boot = boot_of(crash.log, cluster.now)
        if found and not (boot and boot.complete):
            owner = cluster.owner_of(crash.pod)
            groups.setdefault((owner, crash.container), []).append(Said(crash, *found))
    for (owner, _), said in groups.items():
        yield owner, tuple(said)


def hurt_by(cluster: Snapshot, owner: Ref) -> tuple[Ref, ...]:
    """An owner, and its placed pods that are not ready: what a crash of its servers accounts for."""
    down = (p for p in cluster.pods_of(owner) if p.spec.node_name and not p.ready and not p.finished)
    return owner, *(pod.ref for pod in down)


def still_failing(cluster: Snapshot, pod: Pod, status: ContainerStatus) -> bool:
    """Whether a container that ended keeps ending: not up since, or up only until the next time.

    One that is ready again counts after several ends: the last one recent, or more recent than is usual
    between two, by the life that ended then and by all of them.
    """
    end = last_end(status)
    if end is None or pod.metadata.deletion_timestamp:
        return False
    if not status.ready:
        looping = status.state.waiting is not None and status.state.waiting.reason == "CrashLoopBackOff"
        ended = status.state.terminated is not None or status.started is False
        return looping or ended or ended_recently(status, cluster.now)
    if status.restart_count >= REPEATED and ended_recently(status, cluster.now):
        return True
    alive, since = cluster.age_s(pod.status.start_time), cluster.age_s(end.finished_at)
    if status.restart_count < RECURRING or alive is None or since is None or end.started_at is None:
        return False
    lived = (cluster.age_s(end.started_at) or 0.0) - since
    return since < min(lived, alive / status.restart_count)


def ending(pod: Pod, container: str) -> tuple[Evidence, ...]:
    """How a container last ended, and how often it did."""
    status = pod.status_of(container)
    end = last_end(status) if status else None
    if status is None or end is None:
        return ()
    root = f"status.containerStatuses[{container}]"
    said = f"exit {end.exit_code} {end.reason}, {end.started_at} to {end.finished_at}"
    return (
        seen_object(pod.ref, f"{root}.restartCount", status.restart_count),
        seen_object(pod.ref, f"{root}.lastState.terminated", said),
    )
