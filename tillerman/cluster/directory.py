"""The adapter that reads a snapshot directory: plain files as kubectl and curl write them."""

import gc
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import ryaml

from tillerman.cluster.index import Source
from tillerman.cluster.logs import HEAD_BYTES, TAIL_BYTES, Log
from tillerman.cluster.masking import masked_text
from tillerman.cluster.metrics import NO_SERIES, Scrape, Series, scrape
from tillerman.cluster.parse import Parsed
from tillerman.cluster.quantity import gibibytes
from tillerman.cluster.snapshot import Snapshot
from tillerman.errors import UsageError

#: A YAML file above this is not what kubectl writes for a person's snapshot; JSON has no such bound.
LARGEST_YAML_BYTES = 512 * 1024**2
#: A scrape above this is no scrape: vLLM's largest are below 1 MiB.
LARGEST_SCRAPE_BYTES = 64 * 1024**2

_HINT = (
    "a snapshot directory holds cluster/**.yaml|json, logs/, metrics/; `tillerman snapshot -o DIR` writes one"
)


@dataclass(eq=False)
class Files:
    """The logs and scrapes of a directory, read when asked for; `problems` gathers what could not be read."""

    root: Path
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._log = lru_cache(maxsize=256)(self._read_log)
        self._series = lru_cache(maxsize=4096)(self._read_series)

    def read(self, namespace: str, pod: str, container: str, *, previous: bool = False) -> Log | None:
        """The log file of a container, its middle left out when it is large; None when there is none."""
        name = f"{container}.previous.log" if previous else f"{container}.log"
        return self._log(Path("logs", namespace, pod, name)) if _plain(namespace, pod, container) else None

    def _read_log(self, inside: Path) -> Log | None:
        path = self.root / inside
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size <= HEAD_BYTES + TAIL_BYTES:
                    return Log(text=masked_text(file.read().decode("utf-8", "replace")))
                head = file.read(HEAD_BYTES)
                file.seek(-TAIL_BYTES, os.SEEK_END)
                tail = file.read(TAIL_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problems.append(f"{inside}: {error.strerror}")
            return None
        self.problems.append(
            f"{inside}: {gibibytes(size)} long, only its first 1 MiB and last 3 MiB were read"
        )
        return Log(
            text=masked_text(f"{head.decode('utf-8', 'replace')}\n{tail.decode('utf-8', 'replace')}"),
            truncated=True,
        )

    def of_pod(self, namespace: str, pod: str) -> Series:
        """The scrapes of a pod, oldest first."""
        return self._series(Path("metrics", namespace, pod)) if _plain(namespace, pod) else NO_SERIES

    def of_node(self, node: str) -> Series:
        """The scrapes of a node's DCGM exporter, oldest first."""
        return self._series(Path("metrics", "nodes", node)) if _plain(node) else NO_SERIES

    def _read_series(self, inside: Path) -> Series:
        folder = self.root / inside
        if not folder.is_dir():
            return NO_SERIES
        found = (self._scrape(inside / path.name) for path in folder.glob("*.prom"))
        return Series(scrapes=tuple(sorted((one for one in found if one), key=lambda s: s.at_s)))

    def _scrape(self, inside: Path) -> Scrape | None:
        path = self.root / inside
        try:
            if path.stat().st_size > LARGEST_SCRAPE_BYTES:
                raise ValueError(f"{gibibytes(path.stat().st_size)} is no scrape")
            return scrape(path.read_text("utf-8"), float(path.stem))
        except (OSError, ValueError, KeyError, IndexError) as error:
            self.problems.append(f"{inside}: not a scrape: {_first_line(error)}")
            return None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Spares the garbage collector the objects that a block makes: all of them stay."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _plain(*names: str) -> bool:
    """Whether these are names of files inside the directory: manifests are data and may say `../`."""
    return all(name and "/" not in name and name not in (".", "..") and "\0" not in name for name in names)


def read(directory: str | Path, name: str = "") -> Snapshot:
    """The snapshot in a directory, under the directory's path or a name of its own.

    Raises: UsageError when the directory is missing, empty, or none of its files is what the format asks for.
    """
    root = Path(directory)
    if not root.is_dir():
        what = "is not a directory" if root.exists() else "does not exist"
        raise UsageError(f"`{root}` {what}", _HINT)
    parsed = Parsed()
    with _no_collection():
        for path in _manifests(root):
            _read_manifests(path, str(path.relative_to(root)), parsed)
    settings = _settings(root, parsed)
    if not parsed.kinds and not any((root / name).is_dir() for name in ("logs", "metrics")):
        trouble = f": {parsed.problems[0]}" if parsed.problems else ""
        raise UsageError(f"`{root}` holds no snapshot of a cluster{trouble}", _HINT)
    files = Files(root=root)
    source = Source(
        kind="directory",
        name=name or str(directory),
        taken_at=_taken_at(root, settings, parsed),
        not_seen=tuple(dict.fromkeys((*_missing(root, parsed), *_recorded(settings), *parsed.problems))),
    )
    return Snapshot(
        source=source,
        pods=tuple(parsed.pods),
        nodes=tuple(parsed.nodes),
        events=tuple(parsed.events),
        objects=tuple(parsed.objects),
        kinds=frozenset(parsed.kinds),
        logs=files,
        metrics=files,
    )


def _manifests(root: Path) -> Iterator[Path]:
    found = (root / "cluster").rglob("*")
    yield from sorted(p for p in found if p.suffix in (".yaml", ".yml", ".json") and p.is_file())


def _read_manifests(path: Path, origin: str, parsed: Parsed) -> None:
    try:
        if path.stat().st_size == 0:
            parsed.problems.append(f"{origin}: empty")
        elif path.suffix == ".json":
            with path.open("rb") as file:
                parsed.add_json(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), origin)
        elif path.stat().st_size > LARGEST_YAML_BYTES:
            parsed.problems.append(f"{origin}: {gibibytes(path.stat().st_size)} of YAML; write it as JSON")
        else:
            parsed.add_yaml(path.read_text("utf-8"), origin)
    except UnicodeDecodeError:
        parsed.problems.append(f"{origin}: not text")
    except OSError as error:
        parsed.problems.append(f"{origin}: {error.strerror}")


def _settings(root: Path, parsed: Parsed) -> dict[str, Any]:
    path = root / "snapshot.yaml"
    if not path.is_file():
        return {}
    try:
        found = ryaml.loads(path.read_text("utf-8"))
    except (OSError, ValueError, ryaml.InvalidYamlError) as error:
        parsed.problems.append(f"snapshot.yaml: {_first_line(error)}")
        return {}
    return found if isinstance(found, dict) else {}


def _taken_at(root: Path, settings: dict[str, Any], parsed: Parsed) -> datetime:
    """`snapshot.yaml`'s instant, else the newest timestamp in objects and scrapes.

    Never the reader's clock.
    """
    stated = settings.get("taken_at")
    if isinstance(stated, str):
        try:
            found = datetime.fromisoformat(stated)
        except ValueError:
            parsed.problems.append(f"snapshot.yaml: taken_at `{stated}` is not a time")
        else:
            return found if found.tzinfo else found.replace(tzinfo=UTC)
    return max((*_moments(parsed), *_scraped(root)), default=datetime.fromtimestamp(0, UTC))


def _moments(parsed: Parsed) -> Iterator[datetime]:
    for event in parsed.events:
        if event.last_seen:
            yield event.last_seen
    for pod in parsed.pods:
        times = [c.last_transition_time for c in pod.status.conditions]
        for status in pod.status.container_statuses:
            state = status.state
            times.append(state.running.started_at if state.running else None)
            times.append(state.terminated.finished_at if state.terminated else None)
        yield from (t for t in (*times, pod.metadata.creation_timestamp) if t)
    for item in parsed.objects:
        yield from (t for c in item.conditions if (t := c.last_transition_time))
        if item.metadata.creation_timestamp:
            yield item.metadata.creation_timestamp


def _scraped(root: Path) -> Iterator[datetime]:
    for path in (root / "metrics").rglob("*.prom"):
        if re.fullmatch(r"\d{9,11}", path.stem):
            yield datetime.fromtimestamp(int(path.stem), UTC)


def _missing(root: Path, parsed: Parsed) -> Iterator[str]:
    yield "secrets"
    for kind, name in (("Pod", "pods"), ("Node", "nodes"), ("Event", "events")):
        if kind not in parsed.kinds:
            yield name
    for name in ("logs", "metrics"):
        if not (root / name).is_dir():
            yield name


def _recorded(settings: dict[str, Any]) -> Iterator[str]:
    """What the writer of the directory could not see."""
    lines = settings.get("not_seen")
    yield from (line for line in lines if isinstance(line, str)) if isinstance(lines, list) else ()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
