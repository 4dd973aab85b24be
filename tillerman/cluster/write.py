"""Writes a snapshot directory, the format that `directory` reads: secrets left out, tokens masked."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson
import ryaml

from tillerman.cluster.index import Source
from tillerman.cluster.masking import mask_manifest, masked_text
from tillerman.errors import UsageError

#: What an older snapshot holds: with `force` these are replaced, and anything else is left alone and refused.
PARTS = ("cluster", "logs", "metrics", "snapshot.yaml")
CLUSTER_SCOPED = "_cluster"
EMPTY_LISTS = "_empty.json"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written, and what could not be seen, one line each."""

    path: Path
    objects: int
    logs: int
    scrapes: int
    not_seen: tuple[str, ...]


class _Page(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    items: list[msgspec.Raw] | None = None


@dataclass
class Folder:
    """A snapshot directory in the making: `begin`, then add, then `finish`.

    Raises: UsageError when the directory may not be used, or cannot be written.
    """

    root: Path
    force: bool = False
    _manifests: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)
    _empty: list[dict[str, Any]] = field(default_factory=list)
    _objects: int = 0
    _logs: int = 0
    _scrapes: int = 0

    def __post_init__(self) -> None:
        """Refuses before anything was read: a wrong directory should not cost a minute."""
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"`{self.root}` is not a directory", "name a new or an empty one")
        held = sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []
        others = [name for name in held if name not in PARTS]
        if others or (held and "cluster" not in held):
            raise UsageError(
                f"`{self.root}` holds other files (`{(others or held)[0]}`)",
                "name a new or an empty directory",
            )
        if held and not self.force:
            raise UsageError(
                f"`{self.root}` holds a snapshot already",
                "name another directory, or replace it with --force",
            )

    def begin(self) -> None:
        """Makes the directory; an older snapshot in it goes only now, when the new one has been read."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for name in PARTS:
                path = self.root / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.root, error) from error

    def add_page(self, title: str, page: bytes) -> None:
        """Takes the objects of one list of the API server; secrets are dropped, tokens masked."""
        found = msgspec.json.decode(page, type=_Page)
        kind = found.kind.removesuffix("List")
        if kind == "Secret":
            return
        if not found.items:
            self._empty.append({"apiVersion": found.api_version, "kind": found.kind, "items": []})
        for item in found.items or ():
            raw = {"apiVersion": found.api_version, "kind": kind} | orjson.loads(memoryview(item))
            if raw["kind"] != "Secret":
                namespace = str((raw.get("metadata") or {}).get("namespace") or CLUSTER_SCOPED)
                masked = orjson.dumps(_masked(raw))
                self._manifests.setdefault((namespace, title), []).append(masked)
                self._objects += 1

    def add_log(self, whose: tuple[str, str, str, bool], text: str) -> None:
        """Writes one log: of a namespace, pod and container, and whether of its previous life."""
        namespace, pod, container, previous = whose
        name = f"{container}.previous.log" if previous else f"{container}.log"
        self._write(masked_text(text).encode(), "logs", namespace, pod, name)
        self._logs += 1

    def add_scrape(self, whose: tuple[str, str] | str, at_s: float, text: str) -> None:
        """Writes one scrape of a pod (namespace, name) or a node; its time keeps its fraction, for rates."""
        folder = ("nodes", whose) if isinstance(whose, str) else whose
        moment = f"{at_s:.3f}".rstrip("0").rstrip(".")
        self._write(text.encode(), "metrics", *folder, f"{moment}.prom")
        self._scrapes += 1

    def finish(self, source: Source, note: str = "") -> Written:
        """Writes the manifests and `snapshot.yaml`."""
        for (namespace, title), items in self._manifests.items():
            body = b'{"apiVersion":"v1","kind":"List","items":[\n' + b",\n".join(items) + b"\n]}\n"
            self._write(body, "cluster", namespace, f"{title}.json")
        lists = {"apiVersion": "v1", "kind": "List", "items": self._empty}
        self._write(orjson.dumps(lists, option=orjson.OPT_APPEND_NEWLINE), "cluster", EMPTY_LISTS)
        settings = {
            "taken_at": source.taken_at.isoformat().replace("+00:00", "Z"),
            "context": source.name,
            "note": note or "written by tillerman snapshot",
            "not_seen": list(source.not_seen),
        }
        self._write(str(ryaml.dumps(settings)).encode(), "snapshot.yaml")
        return Written(
            path=self.root,
            objects=self._objects,
            logs=self._logs,
            scrapes=self._scrapes,
            not_seen=source.not_seen,
        )

    def _write(self, body: bytes, *parts: str) -> None:
        if any(not part or "/" in part or "\0" in part or part in (".", "..") for part in parts):
            return  # no API server names things like this
        path = self.root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"`{path}` cannot be written: {(error.strerror or str(error)).lower()}", "name another directory"
    )


def _masked(raw: dict[str, Any]) -> dict[str, Any]:
    """The manifest with every token in it masked, wherever it stands."""
    for key, value in mask_manifest(raw).items():
        if key not in ("metadata", "spec", "status", "data", "binaryData"):
            raw[key] = _masked_texts(value)
    return raw


def _masked_texts(value: Any) -> Any:
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, list):
        return [_masked_texts(item) for item in value]
    return {key: _masked_texts(item) for key, item in value.items()} if isinstance(value, dict) else value
