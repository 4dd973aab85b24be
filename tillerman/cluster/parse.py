"""The only reader of raw manifests: bytes or plain values in, typed objects and problems out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson
import ryaml

from tillerman.cluster.masking import mask_manifest
from tillerman.cluster.model import Event, Meta, Node, Pod, Typed
from tillerman.cluster.objects import Object, without_nulls

Typable = Pod | Node | Event

_SHAPES: dict[tuple[str, str], type[Typable]] = {
    ("v1", "Pod"): Pod,
    ("v1", "Node"): Node,
    ("v1", "Event"): Event,
    ("events.k8s.io/v1", "Event"): Event,
}
_DECODERS: dict[tuple[str, str], "msgspec.json.Decoder[Typable]"] = {
    key: msgspec.json.Decoder(shape) for key, shape in _SHAPES.items()
}


class _Document(Typed, frozen=True):
    """The outside of a JSON document: one object, or a list whose items stay bytes until their turn."""

    api_version: str = ""
    kind: str = ""
    items: list[msgspec.Raw] | None = None


_DOCUMENT = msgspec.json.Decoder(_Document)


@dataclass(kw_only=True)
class Parsed:
    """What was read so far, in order, and what could not be: one line each."""

    pods: list[Pod] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    objects: list[Object] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def add_json(self, data: bytes | memoryview, origin: str) -> None:
        """Reads one JSON document, an object or a list of them; a problem names `origin` and is kept."""
        try:
            document = _DOCUMENT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.problems.append(f"{origin}: not JSON that holds Kubernetes objects: {error}")
            return
        if document.items is None:
            self._add_item(msgspec.Raw(bytes(data)), (document.api_version, document.kind), origin)
            return
        kind = document.kind.removesuffix("List")
        self._note_kind(kind)
        key = (document.api_version, kind)
        for item in document.items:
            key = self._add_item(item, key, origin)

    def add_yaml(self, text: str, origin: str) -> None:
        """Reads the documents of one YAML file; broken YAML costs the file and leaves a problem."""
        try:
            documents = ryaml.loads_all(text)
        except (ryaml.InvalidYamlError, ValueError) as error:
            self.problems.append(f"{origin}: not YAML: {error}")
            return
        for document in documents or ():
            if isinstance(document, dict):
                self.add(document, origin)
            elif document is not None:
                self.problems.append(f"{origin}: a document that is no Kubernetes object")

    def add(self, raw: dict[str, Any], origin: str) -> None:
        """Reads one manifest, or a list of them, given as plain values."""
        kind = str(raw.get("kind") or "")
        items = raw.get("items")
        if kind.endswith("List") and isinstance(items, list | None):
            self._note_kind(kind.removesuffix("List"))
            for item in items or ():
                if isinstance(item, dict):
                    item.setdefault("kind", kind.removesuffix("List"))
                    item.setdefault("apiVersion", raw.get("apiVersion", ""))
                    self.add(item, origin)
            return
        shape = _SHAPES.get((str(raw.get("apiVersion") or ""), kind))
        try:
            if shape:
                self._keep(msgspec.convert(without_nulls(raw), shape, strict=False))
            else:
                self._add_object(raw, kind, origin)
        except msgspec.ValidationError as error:
            self.problems.append(f"{origin}: {kind or 'object'} {_name(raw)}: {error}")

    def _add_item(self, item: msgspec.Raw, key: tuple[str, str], origin: str) -> tuple[str, str]:
        """Reads one object from its bytes, guessing that it is of the same kind as the one before."""
        decoder = _DECODERS.get(key)
        if decoder:
            try:
                found = decoder.decode(item)
            except msgspec.ValidationError:
                found = None
            if found is not None and (found.kind, found.api_version) in ((key[1], key[0]), ("", "")):
                self._keep(
                    found if found.kind else msgspec.structs.replace(found, api_version=key[0], kind=key[1])
                )
                return key
        raw = orjson.loads(memoryview(item))
        if not isinstance(raw, dict):
            self.problems.append(f"{origin}: an item that is no Kubernetes object")
            return key
        if key[1]:
            raw.setdefault("kind", key[1])
            raw.setdefault("apiVersion", key[0])
        self.add(raw, origin)
        return str(raw.get("apiVersion") or ""), str(raw.get("kind") or "")

    def _add_object(self, raw: dict[str, Any], kind: str, origin: str) -> None:
        if kind == "Secret":
            return
        meta = msgspec.convert(without_nulls(raw.get("metadata") or {}), Meta, strict=False)
        if not kind or not meta.name:
            self.problems.append(f"{origin}: an object without {'a name' if kind else 'a kind'}")
            return
        self.kinds.add(kind)
        self.objects.append(Object(mask_manifest(raw), meta))

    def _keep(self, found: Typable) -> None:
        if not found.metadata.name:
            raise msgspec.ValidationError("an object without a name")
        self.kinds.add(found.kind)
        kept: list[Any] = (
            self.pods if isinstance(found, Pod) else self.nodes if isinstance(found, Node) else self.events
        )
        kept.append(found)

    def _note_kind(self, kind: str) -> None:
        if kind:
            self.kinds.add(kind)


def _name(raw: dict[str, Any]) -> str:
    metadata = raw.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def parsed(manifests: Iterable[dict[str, Any]], origin: str = "manifests") -> Parsed:
    """Everything in these manifests, read in order."""
    found = Parsed()
    for raw in manifests:
        found.add(raw, origin)
    return found
