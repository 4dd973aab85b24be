"""The contents of a snapshot and the look-ups on them: the lowest storey of `Snapshot`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, Protocol, Self, TypeVar

from tillerman.cluster.logs import Logs, NoLogs
from tillerman.cluster.metrics import NO_SERIES, Series
from tillerman.cluster.model import Event, Node, Pod, Ref
from tillerman.cluster.objects import Object

Key = tuple[str, str, str]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a snapshot came from, its instant, and what could not be seen, one line each."""

    kind: Literal["directory", "live"]
    name: str
    taken_at: datetime
    not_seen: tuple[str, ...] = ()


class Metrics(Protocol):
    """Where series come from; an empty `Series` when none were seen."""

    @property
    def problems(self) -> Sequence[str]:
        """What could not be read so far, one line each."""
        ...

    def of_pod(self, namespace: str, pod: str) -> Series:
        """The scrapes of that pod's /metrics."""
        ...

    def of_node(self, node: str) -> Series:
        """The scrapes of that node's DCGM exporter."""
        ...


class NoMetrics:
    """The source of series where there are none."""

    problems: Sequence[str] = ()

    def of_pod(self, namespace: str, pod: str) -> Series:
        """Always empty."""
        return NO_SERIES

    def of_node(self, node: str) -> Series:
        """Always empty."""
        return NO_SERIES


@dataclass(frozen=True, kw_only=True)
class Index:
    """What was read, and where to read more; `whatif` names the owners that a what-if changed."""

    source: Source
    pods: tuple[Pod, ...] = ()
    nodes: tuple[Node, ...] = ()
    events: tuple[Event, ...] = ()
    objects: tuple[Object, ...] = ()
    kinds: frozenset[str] = frozenset()
    logs: Logs = field(default_factory=NoLogs)
    metrics: Metrics = field(default_factory=NoMetrics)
    whatif: frozenset[Key] = frozenset()

    @property
    def now(self) -> datetime:
        """The snapshot's instant: every age counts from it."""
        return self.source.taken_at

    @property
    def seen(self) -> Source:
        """The source with all that could not be seen, what was found out while answering included."""
        late = (*self.logs.problems, *self.metrics.problems)
        return replace(self.source, not_seen=tuple(dict.fromkeys((*self.source.not_seen, *late))))

    def age_s(self, moment: datetime | None) -> float | None:
        """Seconds from a moment to the snapshot's instant, or None when the moment is unknown."""
        return (self.now - moment).total_seconds() if moment else None

    def sees(self, kind: str) -> bool:
        """Whether objects of a kind could be read; where not, their absence proves nothing."""
        return kind in self.kinds

    def once(self, answer: Callable[[Self], T]) -> T:
        """What a function answers about this snapshot, worked out the first time it is asked."""
        if answer not in self._answers:
            self._answers[answer] = answer(self)
        found: T = self._answers[answer]
        return found

    @cached_property
    def _answers(self) -> dict[Callable[..., Any], Any]:
        return {}

    @cached_property
    def _by_key(self) -> Mapping[Key, Object]:
        return {item.ref.key: item for item in self.objects}

    @cached_property
    def _by_kind(self) -> Mapping[str, tuple[Object, ...]]:
        found: dict[str, list[Object]] = {}
        for item in self._by_key.values():
            found.setdefault(item.kind, []).append(item)
        return {kind: tuple(sorted(items, key=lambda x: x.ref.key)) for kind, items in found.items()}

    @cached_property
    def _pods_by_key(self) -> Mapping[tuple[str, str], Pod]:
        return {(pod.metadata.namespace, pod.metadata.name): pod for pod in self.pods}

    @cached_property
    def _nodes_by_name(self) -> Mapping[str, Node]:
        return {node.metadata.name: node for node in self.nodes}

    @cached_property
    def _pods_by_namespace(self) -> Mapping[str, tuple[Pod, ...]]:
        found: dict[str, list[Pod]] = {}
        for pod in self.pods:
            found.setdefault(pod.metadata.namespace, []).append(pod)
        return {namespace: tuple(pods) for namespace, pods in found.items()}

    @cached_property
    def _pods_by_node(self) -> Mapping[str, tuple[Pod, ...]]:
        found: dict[str, list[Pod]] = {}
        for pod in self.pods:
            if pod.spec.node_name:
                found.setdefault(pod.spec.node_name, []).append(pod)
        return {node: tuple(pods) for node, pods in found.items()}

    def all(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        """Objects of a kind (not pods, nodes or events), by namespace and name."""
        found = self._by_kind.get(kind, ())
        return found if namespace is None else tuple(item for item in found if item.namespace == namespace)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object of that name, or None when it was not read."""
        return self._by_key.get((kind, namespace, name))

    def object_at(self, ref: Ref) -> Object | None:
        """The object a reference names, or None when it was not read."""
        return self._by_key.get(ref.key)

    def pod(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name, or None."""
        return self._pods_by_key.get((namespace, name))

    def node(self, name: str) -> Node | None:
        """The node of that name, or None."""
        return self._nodes_by_name.get(name)

    def pods_in(self, namespace: str) -> tuple[Pod, ...]:
        """The pods of a namespace."""
        return self._pods_by_namespace.get(namespace, ())

    def pods_on(self, node: str) -> tuple[Pod, ...]:
        """The pods bound to a node, finished ones included."""
        return self._pods_by_node.get(node, ())

    def pods_matching(self, namespace: str, labels: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods of a namespace that carry all these labels; none for an empty selector."""
        return tuple(
            pod
            for pod in self.pods_in(namespace)
            if labels and all(pod.labels.get(key) == value for key, value in labels.items())
        )
