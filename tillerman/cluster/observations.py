"""What was observed about an object: events, logs, series, the trouble it is in."""

from collections.abc import Mapping
from functools import cached_property

from tillerman.cluster.life import Trouble, trouble_of
from tillerman.cluster.logs import Log
from tillerman.cluster.metrics import Series
from tillerman.cluster.model import Event, Node, Pod, Ref
from tillerman.cluster.owners import Owners


class Observations(Owners):
    """Questions about what happened."""

    def events_about(self, ref: Ref, *reasons: str) -> tuple[Event, ...]:
        """Events about an object, newest last; only those with one of the reasons when any is given."""
        found = self._events_by_object.get(ref.key, ())
        return tuple(e for e in found if e.reason in reasons) if reasons else found

    def event_saying(self, ref: Ref, text: str, *reasons: str) -> Event | None:
        """The newest event about an object whose message contains a text."""
        return next((e for e in reversed(self.events_about(ref, *reasons)) if text in e.text), None)

    def log(self, pod: Pod, container: str, *, previous: bool = False) -> Log | None:
        """What a container prints now, or printed in its previous life; None when it was not seen."""
        return self.logs.read(pod.namespace, pod.name, container, previous=previous)

    def last_words(self, pod: Pod, container: str) -> Log | None:
        """The log of the life that ended.

        The previous one, or the current one when it lies terminated or is all there is.
        """
        status = pod.status_of(container)
        if status and status.state.terminated and status.state.terminated.exit_code:
            return self.log(pod, container) or self.log(pod, container, previous=True)
        return self.log(pod, container, previous=True) or self.log(pod, container)

    def series(self, pod: Pod) -> Series:
        """The scrapes of a pod's /metrics; empty when none were seen."""
        return self.metrics.of_pod(pod.namespace, pod.name)

    def gpu_series(self, node: str) -> Series:
        """The scrapes of a node's DCGM exporter; empty when none were seen."""
        return self.metrics.of_node(node)

    def trouble(self, pod: Pod) -> Trouble | None:
        """What is wrong with a pod now, or None."""
        return self._troubles.get((pod.namespace, pod.name))

    @property
    def troubled(self) -> tuple[tuple[Pod, Trouble], ...]:
        """Every pod that something is wrong with or that is on its way, with what it is."""
        return self._troubled

    def troubled_as(self, *kinds: str) -> tuple[tuple[Pod, Trouble], ...]:
        """The pods in these kinds of trouble."""
        return tuple(found for found in self._troubled if found[1].kind in kinds)

    @cached_property
    def _troubled(self) -> tuple[tuple[Pod, Trouble], ...]:
        return tuple((pod, trouble) for pod in self.pods if (trouble := trouble_of(pod, self.now)))

    @cached_property
    def _troubles(self) -> Mapping[tuple[str, str], Trouble]:
        return {(pod.namespace, pod.name): trouble for pod, trouble in self._troubled}

    @cached_property
    def _events_by_object(self) -> Mapping[tuple[str, str, str], tuple[Event, ...]]:
        found: dict[tuple[str, str, str], dict[str, Event]] = {}
        for event in self.events:
            about = event.about
            found.setdefault((about.kind, about.namespace, about.name), {})[event.name] = event
        floor = self.now.replace(year=1970)
        return {
            key: tuple(sorted(events.values(), key=lambda e: e.last_seen or floor))
            for key, events in found.items()
        }

    def standing_s(self, item: Pod | Node) -> float:
        """Seconds since the earliest moment known of a pod or node; 0 when none is.

        Creation alone would not do: an object that was restored is created anew with the status it had.
        """
        moments = [condition.last_transition_time for condition in item.status.conditions]
        moments.append(item.metadata.creation_timestamp)
        if isinstance(item, Pod):
            moments.append(item.status.start_time)
        known = [moment for moment in moments if moment]
        return (self.now - min(known)).total_seconds() if known else 0.0

    def scheduling_message(self, pod: Pod) -> str:
        """What the scheduler last said about an unscheduled pod.

        Its condition's message, else the newest event's.
        """
        condition = pod.condition("PodScheduled")
        if condition and condition.status == "False" and condition.message:
            return condition.message
        events = self.events_about(pod.ref, "FailedScheduling")
        return events[-1].text if events else ""
