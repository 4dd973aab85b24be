"""What a fault is: a class that detects a bad state in a snapshot; its instances are what was found."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Literal, Self, TypeVar

from tillerman.cluster.change import Change
from tillerman.cluster.model import Event, Ref
from tillerman.cluster.snapshot import Snapshot

Severity = Literal["critical", "warning", "info"]
Certainty = Literal["proven", "likely"]


class Layer(IntEnum):
    """How deep a fault lies.

    A deeper one (smaller) can explain a shallower one about the same pods, never the reverse.
    """

    HARDWARE = 0
    GPU_STACK = 1
    CONTROL = 2
    PLACEMENT = 3
    STAGING = 4
    ENGINE = 5
    PROBE = 6
    TRAFFIC = 7
    SCALING = 8
    UNKNOWN = 9


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Where a person can look: `source` object, event, log or metric; `ref` names what.

    `path` a field, line or series.
    """

    source: Literal["object", "event", "log", "metric"]
    ref: str
    path: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One occurrence of a bad state. A subclass adds its facts as fields, units in their names.

    `subject` is the smallest thing a person would change; `hurts` names the pods and objects whose trouble
    this accounts for: findings about nothing else hang under this one. `certainty` is `likely` where evidence
    is thin.
    """

    layer: ClassVar[Layer]

    subject: Ref
    severity: Severity
    evidence: tuple[Evidence, ...]
    hurts: tuple[Ref, ...] = ()
    certainty: Certainty = "proven"

    @classmethod
    def detect(cls, cluster: Snapshot) -> Iterator[Self]:
        """Every occurrence in a snapshot, in a stable order; silent where a field it needs is missing."""
        raise NotImplementedError

    def summary(self) -> str:
        """The finding in one line, with its numbers; never advice."""
        raise NotImplementedError

    def explain(self) -> list[str]:
        """Cause first, effect last, a sentence each; never a command."""
        raise NotImplementedError

    def propose(self, cluster: Snapshot) -> list[Change]:
        """The fewest edits that repair it, on the object a person would change.

        None where configuration cannot.
        """
        return []

    def advice(self) -> list[str]:
        """What only a person can do, with commands to copy."""
        return []

    def explains(self, other: "Fault") -> bool:
        """Whether another finding is an effect of this one.

        It lies shallower, and hurts nothing that this does not.
        """
        if self is other or (self.layer, self.certainty != "proven") >= (
            other.layer,
            other.certainty != "proven",
        ):
            return False
        hurt = {ref.key for ref in self.hurts}
        return {ref.key for ref in other.hurts} <= hurt if other.hurts else other.subject.key in hurt


F = TypeVar("F", bound=Fault)


def one_each(found: Iterable[F | None]) -> Iterator[F]:
    """The first finding about each subject."""
    seen: set[Ref] = set()
    for fault in found:
        if fault and fault.subject not in seen:
            seen.add(fault.subject)
            yield fault


def fault_id(fault: type[Fault]) -> str:
    """A fault's stable id, from its file: `startup-probe-kills-load`."""
    return fault.__module__.rsplit(".", 1)[-1].replace("_", "-")


def pattern_id(fault: type[Fault]) -> str:
    """The pattern a fault belongs to, from its folder: `health-probe`."""
    return fault.__module__.rsplit(".", 2)[-2].replace("_", "-")


def seen_object(ref: Ref, path: str, value: Any) -> Evidence:
    """Evidence in a field of an object."""
    return Evidence(source="object", ref=str(ref), path=path, value=str(value))


def seen_event(ref: Ref, event: Event) -> Evidence:
    """Evidence in an event: its reason, its text and how often it was seen."""
    times = f" (x{event.times})" if event.times > 1 else ""
    return Evidence(source="event", ref=str(ref), path=event.reason, value=f"{event.text}{times}")


def seen_log(ref: Ref, container: str, line: int, text: str) -> Evidence:
    """Evidence in a line of a container's log."""
    return Evidence(source="log", ref=f"{ref} {container}", path=f"line {line}", value=text[:300])


def seen_metric(ref: str, series: str, value: float | str) -> Evidence:
    """Evidence in a series of a pod or node."""
    shown = f"{value:.6g}" if isinstance(value, float) else value
    return Evidence(source="metric", ref=ref, path=series, value=shown)


def outage(cluster: Snapshot, owner: Ref) -> Severity:
    """Critical when nobody serves for an owner: it has pods and none is ready; else a warning.

    Of an owner that runs model servers only those count: its endpoint picker serves nothing alone.
    """
    every = [pod for pod in cluster.pods_of(owner) if not pod.finished]
    pods = [pod for pod in every if cluster.server_of(pod)] or every
    return "warning" if any(pod.ready for pod in pods) or not pods else "critical"
