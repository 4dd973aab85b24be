"""The typed objects of a cluster: pods, nodes, events, with the fields that questions are asked about.

Source: the API types of Kubernetes 1.37.
"""

from datetime import datetime
from typing import Any

import msgspec

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
    "Taint",
    "Terminated",
    "Toleration",
    "Typed",
    "VolumeMount",
]


class Terminated(Typed, frozen=True):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Waiting(Typed, frozen=True):
    reason: str = ""
    message: str = ""


class Running(Typed, frozen=True):
    started_at: datetime | None = None


class ContainerState(Typed, frozen=True):
    running: Running | None = None
    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(Typed, frozen=True):
    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(Typed, frozen=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    start_time: datetime | None = None
    pod_ip: str = msgspec.field(name="podIP", default="")


class Taint(Typed, frozen=True):
    key: str = ""
    value: str = ""
    effect: str = ""


class NodeSpec(Typed, frozen=True):
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeStatus(Typed, frozen=True):
    capacity: Resources = {}
    allocatable: Resources = {}
    conditions: tuple[Condition, ...] = ()
    node_info: dict[str, Any] = {}


class Pod(Named, frozen=True):
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
        return next((c for c in self.status.conditions if c.type == kind), None)

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def finished(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")


class Node(Named, frozen=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    def condition(self, kind: str) -> Condition | None:
        return next((c for c in self.status.conditions if c.type == kind), None)

    @property
    def ready(self) -> bool:
        """False only when the node says so or says nothing new: a missing condition is not a fault."""
        found = self.condition("Ready")
        return found is None or found.status == "True"


class ObjectReference(Typed, frozen=True):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    field_path: str = ""


class EventSeries(Typed, frozen=True):
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

    @property
    def about(self) -> ObjectReference:
        return self.involved_object if self.involved_object.kind else self.regarding

    @property
    def text(self) -> str:
        return self.message or self.note

    @property
    def times(self) -> int:
        return (self.series.count if self.series else 0) or self.count or self.deprecated_count or 1

    @property
    def first_seen(self) -> datetime | None:
        return self.first_timestamp or self.deprecated_first_timestamp or self.event_time

    @property
    def last_seen(self) -> datetime | None:
        series = self.series.last_observed_time if self.series else None
        return series or self.last_timestamp or self.deprecated_last_timestamp or self.event_time or self.first_seen
