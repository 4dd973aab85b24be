"""Any object other than pods, nodes and events: its manifest, with typed views on what is read most."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from tillerman.cluster.change import ABSENT, value_at
from tillerman.cluster.model import Condition, Meta, PodSpec, Ref, Typed

T = TypeVar("T")

#: Where each kind keeps the templates of its pods. Source: the API types of Kubernetes 1.37 and
#: LeaderWorkerSet 0.10.
TEMPLATE_PATHS = {
    "Deployment": ("spec.template",),
    "ReplicaSet": ("spec.template",),
    "StatefulSet": ("spec.template",),
    "DaemonSet": ("spec.template",),
    "Job": ("spec.template",),
    "CronJob": ("spec.jobTemplate.spec.template",),
    "LeaderWorkerSet": (
        "spec.leaderWorkerTemplate.workerTemplate",
        "spec.leaderWorkerTemplate.leaderTemplate",
    ),
}


class Template(Typed, frozen=True):
    """A pod template: labels and spec of the pods to be."""

    metadata: Meta = Meta()
    spec: PodSpec = PodSpec()


class Object:
    """One object as the API server printed it. Never changed in place: `with_changes` makes another."""

    def __init__(self, raw: dict[str, Any], meta: Meta) -> None:
        self.raw = raw
        self.metadata = meta
        self.ref = Ref(str(raw.get("apiVersion", "")), str(raw.get("kind", "")), meta.namespace, meta.name)

    def __repr__(self) -> str:
        return f"<{self.ref}>"

    @property
    def kind(self) -> str:
        """The object's kind."""
        return self.ref.kind

    @property
    def name(self) -> str:
        """The object's name."""
        return self.ref.name

    @property
    def namespace(self) -> str:
        """The object's namespace, empty when cluster-scoped."""
        return self.ref.namespace

    @property
    def labels(self) -> dict[str, str]:
        """The object's labels."""
        return self.metadata.labels

    @property
    def annotations(self) -> dict[str, str]:
        """The object's annotations."""
        return self.metadata.annotations

    def value(self, path: str) -> Any:
        """The value at a path, or ABSENT."""
        return value_at(self.raw, path)

    def text(self, path: str) -> str:
        """The text at a path, or "" when it is absent or not text."""
        found = value_at(self.raw, path)
        return found if isinstance(found, str) else ""

    def count(self, path: str) -> int | None:
        """The whole number at a path, or None: an absent number is unknown, not zero."""
        found = value_at(self.raw, path)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def table(self, path: str) -> dict[str, Any]:
        """The mapping at a path, or an empty one."""
        found = value_at(self.raw, path)
        return found if isinstance(found, dict) else {}

    def items(self, path: str) -> list[Any]:
        """The list at a path, or an empty one."""
        found = value_at(self.raw, path)
        return found if isinstance(found, list) else []

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """`status.conditions`; those out of shape are left out."""
        return tuple(_converted(self.items("status.conditions"), Condition))

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((c for c in self.conditions if c.type == kind), None)

    @cached_property
    def templates(self) -> dict[str, Template]:
        """Pod templates by their path in the object.

        Empty for kinds that hold none, or hold them elsewhere.
        """
        found: dict[str, Template] = {}
        for path in TEMPLATE_PATHS.get(self.kind, ()):
            for template in _converted(
                [self.table(path)] if self.value(path) is not ABSENT else [], Template
            ):
                found[path] = template
        return found

    @property
    def template(self) -> Template | None:
        """The first pod template."""
        return next(iter(self.templates.values()), None)


def without_nulls(raw: Any) -> Any:
    """The same value without mapping entries that are null, as Go readers take them."""
    if isinstance(raw, dict):
        return {key: without_nulls(value) for key, value in raw.items() if value is not None}
    return [without_nulls(value) for value in raw] if isinstance(raw, list) else raw


def _converted(raws: list[Any], shape: type[T]) -> Iterator[T]:
    for raw in raws:
        try:
            yield msgspec.convert(without_nulls(raw), shape, strict=False)
        except msgspec.ValidationError:
            continue
