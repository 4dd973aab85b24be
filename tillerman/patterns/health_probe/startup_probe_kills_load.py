"""The startup probe gives up while the model is still loading, so the server never gets ready.

What happens
The kubelet kills a container whose startup probe (or liveness probe, where there is no startup probe) has not
succeeded within its budget. Engines open their port only after weights, compilation and graph capture: a
budget shorter than that means the same load, killed at the same point, for ever.

How it shows
Restarts at a constant interval equal to the budget; exit 137 or 143 with reason Error; `Startup probe failed`
and `failed startup probe, will be restarted` events; a log that advances and never says that startup is
complete.

When we stay silent
The container ended by itself (exit 1) or was OOMKilled; it has completed a start within its budget since; the
time it lived is unknown and no event names the probe; it lived for less or much longer than the budget.

What we propose
A startup budget of twice the longest start that was measured, or of twice the time the killed server had, on
the object that a person edits; where only a liveness probe kills, a startup probe with the same handler.

Sources
vllm-project/vllm#17386, vllm-project/aibrix#1054, kserve/kserve#5062, kserve/kserve#5063; kubelet prober
1.37.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tillerman.cluster.boot import Boot, boot_of
from tillerman.cluster.change import Change
from tillerman.cluster.life import Trouble, last_end
from tillerman.cluster.model import Container, Event, Pod, Probe, Ref
from tillerman.cluster.places import probe_manifest
from tillerman.cluster.quantity import duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_event, seen_log, seen_object

#: Twice what a start took: caches are cold on a new node, and storage is slower when several replicas load at
#: once.
MARGIN = 2.0
#: Restarts end this long after the budget at most: the last probe's timeout and the default grace period.
SLACK_S = 60
#: A container killed this much before its budget ended was not killed by this probe (kubelet starts its clock
#: late).
EARLY_S = 5
#: SIGKILL, SIGTERM, and servers that shut down cleanly on SIGTERM.
KILLED = (137, 143, 0)


@dataclass(frozen=True, kw_only=True)
class StartupProbeKillsLoad(Fault):
    """A server whose probe budget ends before its start does."""

    layer = Layer.PROBE

    pod: Pod
    container: str
    probe: str
    budget_s: int
    lived_s: float | None
    needed_s: float
    restarts: int
    boot: Boot | None

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Containers killed at the end of their budget, one finding for each owner and container."""
        seen: set[tuple[Ref, str]] = set()
        for pod, trouble in cluster.troubled_as("crash-looping", "starting", "not-ready"):
            found = cls._in(cluster, pod, trouble)
            if found and (found.subject, found.container) not in seen:
                seen.add((found.subject, found.container))
                yield found

    @classmethod
    def _in(cls, cluster: Snapshot, pod: Pod, trouble: Trouble) -> Self | None:
        container = pod.container(trouble.container)
        name, probe = _killer(container) if container else ("", None)
        end = last_end(trouble.status) if trouble.status else None
        if container is None or probe is None or trouble.status is None or end is None or end.reason == "OOMKilled":
            return None
        lived = (end.finished_at - end.started_at).total_seconds() if end.finished_at and end.started_at else None
        event = _kill_event(cluster, pod, name)
        if not _killed_by(probe, lived, event, end.exit_code):
            return None
        boot = boot_of(cluster.last_words(pod, container.name), cluster.now)
        if boot and boot.complete and not event:
            return None
        needed = _needed_s(cluster, pod, container.name, lived or probe.budget_s)
        if needed < probe.budget_s - EARLY_S:
            return None
        owner = cluster.owner_of(pod)
        hurt = [p for p in cluster.pods_of(owner) if not p.ready and not p.finished] or [pod]
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=_evidence(pod, container.name, name, probe, event, boot),
            hurts=(owner, *(p.ref for p in hurt)),
            certainty="proven" if event or boot else "likely",
            pod=pod,
            container=container.name,
            probe=name,
            budget_s=probe.budget_s,
            lived_s=lived,
            needed_s=needed,
            restarts=trouble.status.restart_count,
            boot=boot,
        )

    def summary(self) -> str:
        """Budget against need."""
        lived = f", killed after {duration(self.lived_s)}" if self.lived_s else ""
        return (
            f"{self.probe} gives `{self.container}` {duration(self.budget_s)}, it needs more{lived}, "
            f"{self.restarts} restart{'s' if self.restarts != 1 else ''}"
        )

    def explain(self) -> list[str]:
        """From the budget to the restart loop."""
        said = [f"the {self.probe} allows {self.budget_s} s from container start to the first success"]
        if self.boot and self.boot.said:
            said.append(f"by then the log showed: {self.boot.said}")
        elif self.boot and self.boot.weights_loaded is not None:
            said.append(f"by then {self.boot.weights_loaded:.0%} of the weights were loaded")
        said.append("the port opens only after weights, compilation and graph capture, so every probe was refused")
        return [*said, "the kubelet kills the server and the same load starts again"]

    def propose(self, cluster: Snapshot) -> list[Change]:
        """A budget of twice the need."""
        container = self.pod.container(self.container)
        if container is None:
            return []
        period = (container.startup_probe or Probe()).period_seconds
        delay = container.startup_probe.initial_delay_seconds if container.startup_probe else 0
        threshold = math.ceil((self.needed_s * MARGIN - delay) / period)
        why = (
            f"{MARGIN:g} x {duration(self.needed_s)} of start = "
            f"{duration(delay + threshold * period)} of startup budget"
        )
        if container.startup_probe:
            change = cluster.edit(self.pod, self.container, "startupProbe.failureThreshold", threshold, why)
        else:
            handler = probe_manifest(container.liveness_probe)
            kept = {k: handler[k] for k in ("httpGet", "tcpSocket", "exec", "grpc") if k in handler}
            probe = {**kept, "periodSeconds": period, "failureThreshold": threshold, "timeoutSeconds": 5}
            change = cluster.edit(self.pod, self.container, "startupProbe", probe, why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """Where the seconds go."""
        space = self.pod.namespace
        return [
            f"`kubectl -n {space} logs {self.pod.name} -c {self.container} --previous` shows which phase was cut off",
            "weights on local disk (LocalModelCache, PVC) and a kept compile cache shorten the start itself",
        ]


def _killer(container: Container) -> tuple[str, Probe | None]:
    """The probe that ends a start: the startup probe, or the liveness probe where there is none."""
    if container.startup_probe:
        return "startup probe", container.startup_probe
    return "liveness probe", container.liveness_probe


def _kill_event(cluster: Snapshot, pod: Pod, probe: str) -> Event | None:
    killing = cluster.event_saying(pod.ref, f"failed {probe}", "Killing")
    return killing or cluster.event_saying(pod.ref, f"{probe.capitalize()} failed", "Unhealthy")


def _killed_by(probe: Probe, lived_s: float | None, event: Event | None, exit_code: int) -> bool:
    """Whether the end fits the budget: by the clock, or by an event where the clock is unknown."""
    if exit_code not in KILLED:
        return False
    if lived_s is None:
        return event is not None and event.reason == "Killing"
    return probe.budget_s - EARLY_S <= lived_s <= probe.budget_s + probe.period_seconds + SLACK_S


def _needed_s(cluster: Snapshot, pod: Pod, container: str, lived_s: float) -> float:
    """Seconds a start takes.

    The longest complete one measured among the owner's pods, at least what this one had.
    """
    measured = [lived_s]
    for sibling in cluster.pods_of(cluster.owner_of(pod)):
        boot = boot_of(cluster.log(sibling, container), cluster.now)
        if boot and boot.complete and boot.elapsed_s:
            measured.append(boot.elapsed_s)
    return max(measured)


def _evidence(
    pod: Pod, container: str, name: str, probe: Probe, event: Event | None, boot: Boot | None
) -> tuple[Evidence, ...]:
    field = "startupProbe" if name == "startup probe" else "livenessProbe"
    budget = f"{probe.initial_delay_seconds} + {probe.failure_threshold} x {probe.period_seconds} s"
    found = [seen_object(pod.ref, f"spec.containers[{container}].{field}", budget)]
    status = pod.status_of(container)
    end = last_end(status) if status else None
    if status and end:
        found.append(seen_object(pod.ref, f"status.containerStatuses[{container}].restartCount", status.restart_count))
        path = f"status.containerStatuses[{container}].lastState.terminated"
        found.append(seen_object(pod.ref, path, f"exit {end.exit_code} {end.reason}, {end.started_at} to {end.finished_at}"))
    if event:
        found.append(seen_event(pod.ref, event))
    if boot and boot.last:
        found.append(seen_log(pod.ref, container, boot.last.number, boot.last.text))
    return tuple(found)
