"""The typed objects of a cluster: pods, nodes, events, with the fields that questions are asked about.

Source: the API types of Kubernetes 1.37.
"""

from datetime import datetime
from typing import Any

import msgspec

from tillerman.cluster.masking import masked_text
from tillerman.cluster.meta import Condition, Labels, Meta, Named, OwnerReference, Ref, Resources, Typed
from tillerman.cluster.podspec import Container, EnvVar, PodSpec, Probe, Toleration, VolumeMount

__all__ = [
    "Condition",
    "Container",
    "ContainerState",
    "ContainerStatus",
    "EnvVar",
    "Event",
    "Labels",
    "Meta",
    "Named",
    "Node",
    "ObjectReference",
    "OwnerReference",
    "Pod",
    "PodSpec",
    "Probe",
    "Ref",
    "Resources",
    "Taint",
    "Terminated",
    "Toleration",
    "Typed",
    "VolumeMount",
]


class Terminated(Typed, frozen=True):
    """How a container ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.message:  # the end of a log, when nothing else was written
            msgspec.structs.force_setattr(self, "message", masked_text(self.message))


class Waiting(Typed, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Running(Typed, frozen=True):
    """Since when a container runs."""

    started_at: datetime | None = None


class ContainerState(Typed, frozen=True):
    """Exactly one of running, waiting and terminated; none when nothing is known."""

    running: Running | None = None
    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(Typed, frozen=True):
    """What the kubelet says about one container."""

    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(Typed, frozen=True):
    """What is known about a pod."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    start_time: datetime | None = None
    pod_ip: str = msgspec.field(name="podIP", default="")


class Taint(Typed, frozen=True):
    """What keeps pods off a node."""

    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(Typed, frozen=True):
    """A node's taints and whether it is cordoned."""

    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeStatus(Typed, frozen=True):
    """What a node holds, what it offers, and how it is."""

    capacity: Resources = {}
    allocatable: Resources = {}
    conditions: tuple[Condition, ...] = ()
    node_info: dict[str, Any] = {}


class Pod(Named, frozen=True):
    """A pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def container(self, name: str) -> Container | None:
        """The container or init container of that name."""
        return next((c for c in (*self.spec.containers, *self.spec.init_containers) if c.name == name), None)

    def status_of(self, container: str) -> ContainerStatus | None:
        """The status of the container or init container of that name."""
        statuses = (*self.status.container_statuses, *self.status.init_container_statuses)
        return next((s for s in statuses if s.name == container), None)

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((c for c in self.status.conditions if c.type == kind), None)

    @property
    def ready(self) -> bool:
        """Whether the pod is ready for traffic."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def finished(self) -> bool:
        """Whether the pod has ended and will not run again."""
        return self.status.phase in ("Succeeded", "Failed")


class Node(Named, frozen=True):
    """A node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((c for c in self.status.conditions if c.type == kind), None)

    @property
    def ready(self) -> bool:
        """False only when the node says so or says nothing new: a missing condition is not a fault."""
        found = self.condition("Ready")
        return found is None or found.status == "True"


class ObjectReference(Typed, frozen=True):
    """The object an event is about."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    field_path: str = ""


class EventSeries(Typed, frozen=True):
    """How often an event repeated, and when last."""

    count: int = 0
    last_observed_time: datetime | None = None


class Event(Named, frozen=True):
    """An event of core/v1 or events.k8s.io/v1; `about`, `text`, `times` and `last_seen` read both."""

    involved_object: ObjectReference = ObjectReference()
    regarding: ObjectReference = ObjectReference()
    type: str = ""
    reason: str = ""
    message: str = ""
    note: str = ""
    count: int | None = None
    deprecated_count: int | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    deprecated_last_timestamp: datetime | None = None
    deprecated_first_timestamp: datetime | None = None
    event_time: datetime | None = None
    series: EventSeries | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "message", masked_text(self.message))
        msgspec.structs.force_setattr(self, "note", masked_text(self.note))

    @property
    def about(self) -> ObjectReference:
        """The object it is about."""
        return self.involved_object if self.involved_object.kind else self.regarding

    @property
    def text(self) -> str:
        """Its message."""
        return self.message or self.note

    @property
    def times(self) -> int:
        """How often it was seen."""
        return (self.series.count if self.series else 0) or self.count or self.deprecated_count or 1

    @property
    def first_seen(self) -> datetime | None:
        """When it was first seen."""
        return self.first_timestamp or self.deprecated_first_timestamp or self.event_time

    @property
    def last_seen(self) -> datetime | None:
        """When it was last seen."""
        series = self.series.last_observed_time if self.series else None
        return (
            series
            or self.last_timestamp
            or self.deprecated_last_timestamp
            or self.event_time
            or self.first_seen
        )
