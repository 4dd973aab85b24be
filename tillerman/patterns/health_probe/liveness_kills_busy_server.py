"""The liveness probe gives a busy server less time to answer than it takes, and the kubelet kills it.

What happens
A model server answers its health endpoint from the loop that tokenises prompts and streams tokens. Under
load that takes seconds; a probe with the default timeout of one second counts it as dead. Its requests are
lost, the others get its load, and the next one is killed.

How it shows
`Liveness probe failed: ... context deadline exceeded` and `failed liveness probe, will be restarted`; exit
137, 143 or 0; hundreds of running and waiting requests in the last lines of the log; restarts only while it
is busy.

When we stay silent
The container had not started yet (another fault); it was out of memory, or its log shows that the engine
had failed; the health endpoint answered with an error; the restarts are over; without events, when what
was seen says that it was not busy.

What we propose
A timeout of ten seconds and enough failures for a minute, on the liveness probe, where a person edits it.

Sources
scaleapi/llm-engine#255, gonka-ai/gonka#1421, weaviate/weaviate-helm#63; kubelet prober 1.37.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from tillerman.cluster.boot import boot_of
from tillerman.cluster.change import Change
from tillerman.cluster.life import REPEATED, last_end
from tillerman.cluster.model import Container, ContainerStatus, Event, Pod, Probe, Ref, Terminated
from tillerman.cluster.quantity import counted
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import RECURRING, ending, hurt_by, still_failing
from tillerman.patterns.fault import (
    Evidence,
    Fault,
    Layer,
    outage,
    seen_event,
    seen_log,
    seen_metric,
    seen_object,
)
from tillerman.patterns.health_probe.probing import KILLED, latest_s, lived_s

#: A probe this patient is not the fault: a loop that answers nothing for a minute is stuck. Source: fleets
#: that lost their false restarts with 10 s (scaleapi/llm-engine#255).
PATIENT_TIMEOUT_S, PATIENT_S = 10, 60
#: Without an event, only a probe this hasty is suspected: the kubelet's default is 1 s.
HASTY_TIMEOUT_S = 3
#: A server with this many requests in work, or this many that wait, is busy. Source: a quarter of vLLM's
#: default of 256 sequences; a queue means that they are all in use.
BUSY_REQUESTS, BUSY_WAITING = 64, 5
_LOAD = r"Running: (\d+) reqs, Waiting: (\d+) reqs|#running-req: (\d+).*#queue-req: (\d+)"
_FAILED = r"EngineDeadError|EngineCore encountered|CUDA error|OutOfMemoryError|died unexpectedly"
_SLOW = r"deadline exceeded|timed out|did not complete within"


@dataclass(frozen=True, kw_only=True)
class LivenessKillsBusyServer(Fault):
    """Servers killed by a liveness probe that is hastier than they are under load."""

    layer = Layer.PROBE

    pod: Pod
    container: str
    probe: Probe
    load: str
    restarts: int
    pods: int

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Containers their liveness probe killed after they had started, by owner and container."""
        groups: dict[tuple[Ref, str], list[Self]] = {}
        for pod in cluster.pods:
            for status in pod.status.container_statuses:
                container, end = pod.container(status.name), last_end(status)
                if container and end and _killed(cluster, pod, container, status):
                    found = cls._in(cluster, pod, container, end)
                    if found:
                        groups.setdefault((found.subject, status.name), []).append(found)
        for alike in groups.values():
            best = min(alike, key=lambda one: (one.certainty != "proven", -one.restarts))
            hurts = tuple(dict.fromkeys(ref for one in alike for ref in one.hurts))
            yield replace(best, hurts=hurts, restarts=sum(one.restarts for one in alike), pods=len(alike))

    @classmethod
    def _in(cls, cluster: Snapshot, pod: Pod, container: Container, end: Terminated) -> Self | None:
        probe, status = container.liveness_probe, pod.status_of(container.name)
        killing = cluster.event_saying(pod.ref, "failed liveness probe", "Killing")
        failures = [e for e in cluster.events_about(pod.ref, "Unhealthy") if "Liveness probe" in e.text]
        slow = next((e for e in reversed(failures) if re.search(_SLOW, e.text)), None)
        load = _load(cluster, pod, container.name)
        if probe is None or status is None or (failures and not slow):
            return None
        if not _blamed(cluster, pod, probe, (killing, slow), load is not None, status.restart_count):
            return None
        owner = cluster.owner_of(pod)
        said = (
            f"timeout {probe.timeout_seconds} s, {probe.failure_threshold} x every {probe.period_seconds} s"
        )
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=(
                seen_object(pod.ref, f"spec.containers[{container.name}].livenessProbe", said),
                *(seen_event(pod.ref, event) for event in (killing, slow) if event),
                *ending(pod, container.name),
                *((load[1],) if load else ()),
            ),
            hurts=(*hurt_by(cluster, owner), pod.ref),
            certainty="proven" if killing and load else "likely",
            pod=pod,
            container=container.name,
            probe=probe,
            load=load[0] if load else "",
            restarts=status.restart_count,
            pods=1,
        )

    def summary(self) -> str:
        """The probe's patience, the load, the restarts."""
        busy = f" while busy ({self.load})" if self.load else ""
        return (
            f"the liveness probe of `{self.container}` waits {self.probe.timeout_seconds} s, "
            f"{self.probe.failure_threshold} times, and kills it{busy}: "
            f"{counted(self.restarts, 'restart')} of {counted(self.pods, 'pod')}"
        )

    def explain(self) -> list[str]:
        """From the load to the lost requests."""
        return [
            f"the server is busy: {self.load}" if self.load else "the server was slow to answer, not dead",
            f"its health endpoint answers later than the {self.probe.timeout_seconds} s that the probe waits",
            f"after {self.probe.failure_threshold} such answers the kubelet kills it, with all its requests",
            "the others get its load, and the next one is killed",
        ]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A timeout that survives load, and failures for a minute."""
        have = {
            "timeoutSeconds": self.probe.timeout_seconds,
            "failureThreshold": self.probe.failure_threshold,
        }
        least = math.ceil(PATIENT_S / self.probe.period_seconds)
        want = {"timeoutSeconds": PATIENT_TIMEOUT_S, "failureThreshold": least}
        values = {name: count for name, count in want.items() if have[name] < count}
        why = f"a server that is slow for less than {PATIENT_S} s is busy, not dead"
        change = cluster.edit_each(self.pod, self.container, "livenessProbe", values, why) if values else None
        return [change] if change else []

    def advice(self) -> list[str]:
        """What takes the load off."""
        return [
            "more replicas or a queue limit at the gateway lower the load; `--api-server-count` and a higher "
            "CPU request speed up the loop that answers",
            "whether an engine hangs is better told by a counter of its steps than by its health endpoint",
        ]


def _killed(cluster: Snapshot, pod: Pod, container: Container, status: ContainerStatus) -> bool:
    """Whether a container with a hasty liveness probe was ended from outside after it had started."""
    probe, end = container.liveness_probe, last_end(status)
    if probe is None or end is None or end.reason == "OOMKilled" or end.exit_code not in KILLED:
        return False
    patient = probe.timeout_seconds >= PATIENT_TIMEOUT_S
    if patient and probe.failure_threshold * probe.period_seconds >= PATIENT_S:
        return False
    log = cluster.last_words(pod, container.name)
    if not still_failing(cluster, pod, status) or (log and log.first(_FAILED)):
        return False
    boot, lived = boot_of(log, cluster.now), lived_s(end)
    if (boot and boot.complete) or (log and log.first(_LOAD)):
        return True
    first = container.startup_probe or probe
    return lived is not None and lived > latest_s(pod, first)


def _blamed(
    cluster: Snapshot,
    pod: Pod,
    probe: Probe,
    events: tuple[Event | None, Event | None],
    busy: bool,
    restarts: int,
) -> bool:
    """Whether what was seen names the probe: an event and slowness or load; without one, haste and load.

    Where neither events nor load were seen, a started server that is ended again and again from outside is
    enough: in a pod that stays, nothing else does that.
    """
    killing, slow = events
    if killing:
        return busy or (slow is not None and restarts >= REPEATED)
    if probe.timeout_seconds > HASTY_TIMEOUT_S or cluster.server_of(pod) is None:
        return False
    return busy or (restarts >= RECURRING and _unseen(cluster, pod))


def _unseen(cluster: Snapshot, pod: Pod) -> bool:
    """Whether neither logs nor series of a pod and its siblings, nor its events, were seen."""
    alike = cluster.pods_of(cluster.owner_of(pod)) or (pod,)
    logs = (cluster.last_words(one, c.name) for one in alike for c in one.spec.containers)
    return not (any(logs) or any(cluster.series(one) for one in alike) or cluster.events_about(pod.ref))


def _load(cluster: Snapshot, pod: Pod, container: str) -> tuple[str, Evidence] | None:
    """The load at the end of the last life, else now, of the pod or of its siblings; None for none."""
    log = cluster.last_words(pod, container)
    found = log.last(_LOAD) if log else None
    if found:
        running, waiting = (int(number) for number in found[1].groups() if number is not None)
        if _busy(running, waiting):
            evidence = seen_log(pod.ref, container, found[0].number, found[0].text)
            return f"{running} running, {waiting} waiting requests", evidence
        return None
    for one in (pod, *cluster.pods_of(cluster.owner_of(pod))):
        series = cluster.series(one)
        counts = series.value("running"), series.value("waiting")
        if _busy(counts[0] or 0, counts[1] or 0):
            evidence = seen_metric(str(one.ref), series.name_of("waiting") or "waiting", counts[1] or 0.0)
            return f"{counts[0] or 0:g} running, {counts[1] or 0:g} waiting requests", evidence
    return None


def _busy(running: float, waiting: float) -> bool:
    return running + waiting >= BUSY_REQUESTS or waiting >= BUSY_WAITING
