"""What every object has: a reference, metadata, conditions.

Structs rather than dataclasses: msgspec fills them from bytes in one pass in C and skips every other field,
so that 50,000 pods cost seconds and megabytes. Names are Kubernetes' own in snake case; a field nobody set is
empty or None. Source: the API types of Kubernetes 1.37.
"""

from datetime import datetime
from typing import NamedTuple

import msgspec

from tillerman.cluster.masking import masked_annotations

Labels = dict[str, str]
Resources = dict[str, str | int | float]


class Ref(NamedTuple):
    """What names one object: `api_version`, `kind`, `namespace` ("" when cluster-scoped) and `name`."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Kind, namespace and name: the identity used in look-ups (an API version is only a view)."""
        return self.kind, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


class Typed(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The shape of every struct here: immutable, by keyword, camel case outside."""


class OwnerReference(Typed, frozen=True):
    """Who owns an object; the one with `controller` keeps it as it wants it."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Meta(Typed, frozen=True):
    """An object's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: Labels = {}
    annotations: Labels = {}
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    generation: int = 0

    def __post_init__(self) -> None:
        if self.annotations:
            msgspec.structs.force_setattr(self, "annotations", masked_annotations(self.annotations))


class Condition(Typed, frozen=True):
    """One condition of a status."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Named(Typed, frozen=True):
    """What every object has: its kind and its metadata."""

    api_version: str = ""
    kind: str = ""
    metadata: Meta = Meta()

    @property
    def ref(self) -> Ref:
        """What names this object."""
        return Ref(self.api_version, self.kind, self.metadata.namespace, self.metadata.name)

    @property
    def name(self) -> str:
        """The object's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The object's namespace, empty when cluster-scoped."""
        return self.metadata.namespace

    @property
    def labels(self) -> Labels:
        """The object's labels."""
        return self.metadata.labels
