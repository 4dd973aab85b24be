"""The startup probe gives up while the model is still loading, so the server never gets ready.

What happens
The kubelet kills a container whose startup probe (or liveness probe, where there is no startup probe) has
not succeeded within its budget. Engines open their port only after weights, compilation and graph capture:
a budget shorter than that means the same load, killed at the same point, for ever.

How it shows
Restarts at a constant interval equal to the budget; exit 137 or 143 with reason Error; `Startup probe
failed` and `failed startup probe, will be restarted` events; a log that advances and never says that
startup is complete.

When we stay silent
The container ended by itself (exit 1) or was OOMKilled; it has completed a start since, or had well before
the budget ended (then the probe asks the wrong thing); it lived for less or much longer than the budget, or
for an unknown time and no event names the probe; it was killed once, and neither event nor log was seen.

What we propose
A startup budget of twice the longest start that was measured, or of twice the time the killed server had,
on the object that a person edits; where only a liveness probe kills, a startup probe with the same handler.

Sources
vllm-project/vllm#17386, vllm-project/aibrix#1054, kserve/kserve#5062, kserve/kserve#5063; kubelet prober
1.37.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tillerman.cluster.boot import Boot, boot_of
from tillerman.cluster.change import Change
from tillerman.cluster.life import last_end
from tillerman.cluster.model import Container, Event, Pod, Probe, Ref, Terminated
from tillerman.cluster.places import probe_manifest
from tillerman.cluster.quantity import duration
from tillerman.cluster.snapshot import Snapshot
from tillerman.patterns.crash import ending, hurt_by, still_failing
from tillerman.patterns.fault import Evidence, Fault, Layer, outage, seen_event, seen_log, seen_object
from tillerman.patterns.health_probe.probing import EARLY_S, KILLED, latest_s, lived_s

#: Twice what a start took: caches are cold on a new node, and storage is slower when several replicas load
#: at once.
MARGIN = 2.0
#: Weights that were loaded in part tell how long all of them take; compilation and graphs come after them.
AFTER_WEIGHTS = 1.25
#: Restarts from which on their equal length speaks for itself, without an event or a log.
REPEATED = 2
#: The fields of a probe that say how it asks.
HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")


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
        for pod in cluster.pods:
            for status in pod.status.container_statuses:
                container, end = pod.container(status.name), last_end(status)
                if (
                    container is None
                    or end is None
                    or status.ready
                    or not still_failing(cluster, pod, status)
                ):
                    continue
                found = cls._in(cluster, pod, container, end)
                if found and (found.subject, found.container) not in seen:
                    seen.add((found.subject, found.container))
                    yield found

    @classmethod
    def _in(cls, cluster: Snapshot, pod: Pod, container: Container, end: Terminated) -> Self | None:
        name, probe = _killer(container)
        status = pod.status_of(container.name)
        if probe is None or status is None or (container.startup_probe and status.started):
            return None
        lived, event = lived_s(end), cluster.event_saying(pod.ref, f"failed {name}", "Killing")
        boot = boot_of(cluster.last_words(pod, container.name), cluster.now)
        if not _killed_by(cluster, pod, probe, end, event) or _came_up(boot, probe):
            return None
        if not (event or boot or status.restart_count >= REPEATED):
            return None
        owner = cluster.owner_of(pod)
        return cls(
            subject=owner,
            severity=outage(cluster, owner),
            evidence=_evidence(pod, container.name, name, probe, event, boot),
            hurts=(*hurt_by(cluster, owner), pod.ref),
            certainty="proven" if event or boot else "likely",
            pod=pod,
            container=container.name,
            probe=name,
            budget_s=probe.budget_s,
            lived_s=lived,
            needed_s=_needed_s(cluster, pod, container.name, lived or probe.budget_s, boot),
            restarts=status.restart_count,
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
        said.append(
            "the port opens only after weights, compilation and graph capture, so every probe was refused"
        )
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
            probe: dict[str, Any] = {name: handler[name] for name in HANDLERS if name in handler}
            probe |= {"periodSeconds": period, "failureThreshold": threshold, "timeoutSeconds": 5}
            change = cluster.edit(self.pod, self.container, "startupProbe", probe, why)
        return [change] if change else []

    def advice(self) -> list[str]:
        """Where the seconds go."""
        pod = f"-n {self.pod.namespace} logs {self.pod.name} -c {self.container}"
        return [
            f"`kubectl {pod} --previous` shows which phase was cut off",
            "weights on local disk (LocalModelCache, PVC) and a kept compile cache shorten the start itself",
        ]


def _killer(container: Container) -> tuple[str, Probe | None]:
    """The probe that ends a start: the startup probe, or the liveness probe where there is none."""
    if container.startup_probe:
        return "startup probe", container.startup_probe
    return "liveness probe", container.liveness_probe


def _killed_by(cluster: Snapshot, pod: Pod, probe: Probe, end: Terminated, event: Event | None) -> bool:
    """Whether the end fits the budget: by the clock, or by an event where the clock is unknown."""
    if end.exit_code not in KILLED or end.reason == "OOMKilled":
        return False
    lived = lived_s(end)
    if lived is None:
        return event is not None and pod.ref.key not in cluster.whatif
    return probe.budget_s - EARLY_S <= lived <= latest_s(pod, probe)


def _came_up(boot: Boot | None, probe: Probe) -> bool:
    """Whether the start was complete well before the budget ended: then the probe asks the wrong thing."""
    if boot is None or not boot.complete:
        return False
    return boot.elapsed_s is None or boot.elapsed_s < probe.budget_s - 2 * probe.period_seconds


def _needed_s(cluster: Snapshot, pod: Pod, container: str, had_s: float, boot: Boot | None) -> float:
    """Seconds a start takes.

    The longest complete one measured among the owner's pods; at least what this one had, and what the share
    of the weights that it loaded in that time speaks for.
    """
    measured = [had_s]
    if boot and boot.weights_loaded and boot.weights_loaded < 1:
        measured.append(had_s / max(boot.weights_loaded, 0.25) * AFTER_WEIGHTS)
    for sibling in cluster.pods_of(cluster.owner_of(pod)):
        other = boot_of(cluster.log(sibling, container), cluster.now)
        if other and other.complete and other.elapsed_s:
            measured.append(other.elapsed_s)
    return max(measured)


def _evidence(
    pod: Pod, container: str, name: str, probe: Probe, event: Event | None, boot: Boot | None
) -> tuple[Evidence, ...]:
    field = "startupProbe" if name == "startup probe" else "livenessProbe"
    budget = f"{probe.initial_delay_seconds} + {probe.failure_threshold} x {probe.period_seconds} s"
    found = [seen_object(pod.ref, f"spec.containers[{container}].{field}", budget)]
    found.extend(ending(pod, container))
    if event:
        found.append(seen_event(pod.ref, event))
    if boot and boot.last:
        found.append(seen_log(pod.ref, container, boot.last.number, boot.last.text))
    return tuple(found)
