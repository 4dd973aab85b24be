"""How a pod is doing: one word for what is wrong with it now, or None."""

from datetime import datetime
from typing import Literal, NamedTuple

from tillerman.cluster.model import Container, ContainerStatus, Pod, Terminated

#: A restart this long ago is history: whatever it was, the container has run since. Longer than the kubelet's
#: longest
#: back-off (5 min) and than ten starts of a big model would take to show again.
RECENT_S = 3600
#: Fewer restarts than this in a container that is ready now are chance, not a pattern.
REPEATED = 2

Kind = Literal[
    "gated",
    "unschedulable",
    "rejected",
    "evicted",
    "failed",
    "image",
    "config",
    "creating",
    "init-failing",
    "init-running",
    "crash-looping",
    "restarting",
    "starting",
    "not-ready",
]

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ImageInspectError", "ErrImageNeverPull")
_CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError")


class Trouble(NamedTuple):
    """What is wrong with a pod: its kind, and the container that shows it ("" for the pod as a whole).

    `gated`, `init-running`, `starting` and `creating` are waits that may be right; all others are failures.
    """

    kind: Kind
    container: str = ""
    status: ContainerStatus | None = None

    @property
    def failing(self) -> bool:
        """Whether this is a failure rather than a wait that may still end well."""
        return self.kind not in ("gated", "init-running", "starting", "creating")


def last_end(status: ContainerStatus) -> Terminated | None:
    """How the container last ended: its current state when it lies terminated, else its state before."""
    return status.state.terminated or status.last_state.terminated


def ended_recently(status: ContainerStatus, now: datetime) -> bool:
    """Whether its last end is recent, or lies at an unknown time in a container that is not ready."""
    end = last_end(status)
    if end is None:
        return False
    if end.finished_at is None:
        return not status.ready
    return (now - end.finished_at).total_seconds() <= RECENT_S


def is_sidecar(container: Container) -> bool:
    """Whether an init container is a native sidecar: it runs beside the others and never completes."""
    return container.restart_policy == "Always"


def trouble_of(pod: Pod, now: datetime) -> Trouble | None:
    """What is wrong with a pod now, or None for one that is ready, finished well, or on its way out."""
    if pod.metadata.deletion_timestamp or pod.status.phase == "Succeeded":
        return None
    if pod.status.phase == "Failed":
        return _failed(pod)
    if not pod.spec.node_name:
        return _unscheduled(pod)
    return _init(pod, now) or _containers(pod, now)


def _failed(pod: Pod) -> Trouble:
    reason = pod.status.reason
    if reason == "Evicted":
        return Trouble("evicted")
    if reason in ("UnexpectedAdmissionError", "TopologyAffinityError", "NodeAffinity", "OutOfnvidia.com/gpu"):
        return Trouble("rejected")
    ended = next((s for s in pod.status.container_statuses if s.state.terminated), None)
    return Trouble("failed", ended.name if ended else "", ended)


def _unscheduled(pod: Pod) -> Trouble | None:
    scheduled = pod.condition("PodScheduled")
    if pod.spec.scheduling_gates or (scheduled and scheduled.reason == "SchedulingGated"):
        return Trouble("gated")
    if scheduled and scheduled.status == "False":
        return Trouble("unschedulable")
    return Trouble("creating") if pod.status.phase == "Pending" else None


def _waiting(status: ContainerStatus) -> Trouble | None:
    reason = status.state.waiting.reason if status.state.waiting else ""
    if reason in _IMAGE:
        return Trouble("image", status.name, status)
    return Trouble("config", status.name, status) if reason in _CONFIG else None


def _init(pod: Pod, now: datetime) -> Trouble | None:
    sidecars = {c.name for c in pod.spec.init_containers if is_sidecar(c)}
    for status in pod.status.init_container_statuses:
        ended = status.state.terminated
        if status.name in sidecars:
            found = _waiting(status) or (None if status.ready else _container(status, now))
            if found:
                return found
        elif not (ended and ended.exit_code == 0):
            if found := _waiting(status):
                return found
            looping = status.state.waiting and status.state.waiting.reason == "CrashLoopBackOff"
            if (
                looping
                or (ended and ended.exit_code)
                or (status.restart_count and ended_recently(status, now))
            ):
                return Trouble("init-failing", status.name, status)
            return Trouble("init-running" if status.state.running else "creating", status.name, status)
    return None


def _containers(pod: Pod, now: datetime) -> Trouble | None:
    found = [t for s in pod.status.container_statuses if (t := _waiting(s) or _container(s, now))]
    order = ("image", "config", "crash-looping", "failed", "restarting", "not-ready", "starting", "creating")
    if found:
        return min(found, key=lambda t: order.index(t.kind))
    if not pod.status.container_statuses and pod.status.phase == "Pending":
        return Trouble("creating")
    return None


def _container(status: ContainerStatus, now: datetime) -> Trouble | None:
    waiting = status.state.waiting.reason if status.state.waiting else ""
    ended = status.state.terminated
    if waiting == "CrashLoopBackOff" or (ended and ended.exit_code):
        return Trouble("crash-looping", status.name, status)
    if ended:
        return None
    if status.ready:
        repeated = status.restart_count >= REPEATED and ended_recently(status, now)
        return Trouble("restarting", status.name, status) if repeated else None
    if status.restart_count and (ended_recently(status, now) or status.started is False):
        return Trouble("crash-looping", status.name, status)
    if waiting:
        return Trouble("creating", status.name, status)
    return Trouble("starting" if not status.started else "not-ready", status.name, status)
