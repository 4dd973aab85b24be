"""A small cluster served over HTTP, and a reader of it whose waits are written down instead of waited."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.live.served import Served, kubeconfig, serving
from tillerman.cluster.live.api import Timing
from tillerman.cluster.live.background import Background
from tillerman.cluster.live.podlogs import Which, troubled_logs
from tillerman.cluster.live.session import Options, Reading, Session
from tillerman.cluster.snapshot import Snapshot

SMALL = Path(__file__).parent / "small"
RECORDED = Path(__file__).parents[2] / "tillerman" / "recorded"


@dataclass
class Reader:
    """Reads a served cluster: in no time, at a time that only its waits move on."""

    folder: Path
    waits: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    now_s: float = 1_700_000_000.0
    opened: list[Background] = field(default_factory=list)
    keep: bool = False

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    def background(self) -> Background:
        self.opened.append(Background())
        return self.opened[-1]

    def timing(self) -> Timing:
        return Timing(sleep=self.sleep, jitter=lambda: 0.5, now_s=lambda: self.now_s)

    def reading(
        self, served: Served, logs: Callable[[Snapshot], list[Which]] = troubled_logs, **options: Any
    ) -> Reading:
        path = kubeconfig(self.folder / "kubeconfig", served.url)
        background = self.background()
        session = Session(
            background=background, progress=self.said.append, timing=self.timing(), keep=self.keep
        )
        asked = Options(**{"kubeconfig": path, "timeout_s": 5.0, **options})
        return background.run(session.read(asked, logs))

    def read(self, served: Served, **options: Any) -> Snapshot:
        return self.reading(served, **options).snapshot


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is served here is not asked for through somebody's HTTP proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    found = Reader(tmp_path)
    yield found
    for background in found.opened:
        background.close()


@pytest.fixture
def small() -> Iterator[Served]:
    with serving(Served(root=SMALL)) as served:
        yield served


@pytest.fixture(scope="session")
def recorded() -> Iterator[Served]:
    with serving(Served(root=RECORDED)) as served:
        yield served
