"""Pytest fixtures: `lab`, `control_plane`, `start_control_plane`. A conftest takes them by importing them.

When the lab is not built the tests that ask for it are skipped, in one line; with `TILLERMAN_LAB=required` in
the environment they fail.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from .control_plane import ControlPlane
from .errors import NotBuilt
from .lab import running_control_plane, running_lab

BASE = 28000
PORTS_OF_A_WORKER = 200
StartControlPlane = Callable[..., ControlPlane]


def first_port() -> int:
    """Where this test worker's ports begin: workers do not meet, nor do they meet `make lab`."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return BASE + PORTS_OF_A_WORKER * int(worker)


@pytest.fixture(scope="session")
def lab() -> Iterator[ControlPlane]:
    """The whole lab with its estate, one for all tests of a worker: use a namespace of your own."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(running_lab(first_port()))
        except NotBuilt as error:
            _not_built(error)
        yield running


@pytest.fixture
def start_control_plane() -> Iterator[StartControlPlane]:
    """A function that starts a bare control plane which lasts until the test's end.

    Its arguments: `template`, `"crds"` (the published CRDs, the default) or `""` (none); `recordings`, a
    snapshot directory whose logs and scrapes are answered.
    """
    with ExitStack() as stack:

        def start(template: str = "crds", recordings: Path | None = None) -> ControlPlane:
            try:
                return stack.enter_context(running_control_plane(first_port(), template, recordings))
            except NotBuilt as error:
                _not_built(error)

        yield start


@pytest.fixture
def control_plane(start_control_plane: StartControlPlane) -> ControlPlane:
    """A bare control plane with the published CRDs: etcd and the API server, no scheduler, no controllers."""
    return start_control_plane()


def _not_built(error: NotBuilt) -> NoReturn:
    if os.environ.get("TILLERMAN_LAB") == "required":
        pytest.fail(f"{error}: {error.hint}", pytrace=False)
    pytest.skip(f"{error}: {error.hint}")
