"""What holds for every test: nothing beyond this machine is reached; lab tests are marked by their folder."""

import sys
from pathlib import Path
from typing import Any

import pytest

LAB = Path(__file__).parent / "lab"
HERE = ("127.", "::1", "localhost")


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Raises when a socket is about to reach beyond this machine."""
    if event != "socket.connect":
        return
    address = arguments[1]
    if isinstance(address, tuple) and not str(address[0]).startswith(HERE):
        raise RuntimeError(f"a test reaches beyond this machine: {address[0]}")


sys.addaudithook(refuse_network)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(LAB):
            item.add_marker("lab")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reads a cluster names it; the cluster of whoever runs the tests is never read."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
