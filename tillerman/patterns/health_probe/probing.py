"""How a probe ends a container: when, with which exit codes, and how long it lived until then."""

from tillerman.cluster.model import Pod, Probe, Terminated

#: SIGKILL, SIGTERM, and servers that shut down cleanly on SIGTERM.
KILLED = (137, 143, 0)
#: A container killed this much before its budget ended was not killed by this probe (the kubelet's clock
#: starts a little later).
EARLY_S = 5
#: The kubelet needs this long at most to notice the last failure and to stop the container, its grace aside.
LATE_S = 20


def lived_s(end: Terminated) -> float | None:
    """Seconds a container lived, or None when one of its two times is unknown."""
    if end.started_at is None or end.finished_at is None:
        return None
    return (end.finished_at - end.started_at).total_seconds()


def latest_s(pod: Pod, probe: Probe) -> float:
    """Seconds after its start by which a container that never answered this probe has ended."""
    last = probe.period_seconds + probe.timeout_seconds + LATE_S
    return probe.budget_s + last + pod.spec.termination_grace_period_seconds
