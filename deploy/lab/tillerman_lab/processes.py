"""Starting programs and stopping them in order: only our own, by the handle we hold of them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import LabError
from .waiting import Found, wait_for

LEASH = Path(__file__).parent / "leash.py"
GRACE_S = 10
"""How long a program may take to end by itself. Measured: all six together take about 2 s."""


def leashed(argv: list[str]) -> list[str]:
    """The command line that runs a program so that it dies with this process."""
    return [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv]


class Child:
    """A running program and the file its output goes to."""

    def __init__(self, name: str, argv: list[str], log: Path, env: Mapping[str, str]) -> None:
        """Start the program, tied to the life of the calling thread's process.

        The kernel counts the *thread* that starts a program as its parent: start from one that lasts.
        """
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self._running = subprocess.Popen(
                leashed(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=_plain(env),
                cwd=log.parent,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._running.poll() is None

    def ensure_alive(self) -> None:
        """Raise `LabError` with the end of its log when it has ended."""
        if not self.alive():
            tail = "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-8:])
            raise LabError(f"{self.name} ended with exit status {self._running.returncode}:\n{tail}")

    def stop(self) -> None:
        """Ask it to end, insist after a while, and wait until it has."""
        if self.alive():
            self._running.terminate()
        try:
            self._running.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()


class Processes:
    """The programs of one lab, in the order of their start; a context manager that stops them in reverse."""

    def __init__(self, folder: Path) -> None:
        """Keep the programs' output in `folder`."""
        self.folder = folder
        self.children: list[Child] = []

    def start(self, name: str, argv: list[str], env: Mapping[str, str] | None = None) -> Child:
        """Start a program; its output goes to `<name>.log`."""
        child = Child(name, argv, self.folder / f"{name}.log", env or {})
        self.children.append(child)
        return child

    def wait_until(self, what: str, found: Callable[[], Found], within_s: float) -> Found:
        """The first answer of `found` that counts as true.

        Raises `LabError` when there is none in time, or when a program has ended.
        """

        def asked() -> Found:
            self.ensure_alive()
            return found()

        return wait_for(what, asked, within_s, hint=f"the logs are in {self.folder}")

    def ensure_alive(self) -> None:
        """Raise `LabError` when a program has ended."""
        for child in self.children:
            child.ensure_alive()

    def watch(self) -> None:
        """Return never; raise `LabError` when a program ends that should run."""
        while True:
            self.ensure_alive()
            time.sleep(1)

    def stop(self) -> None:
        """Stop everything that was started, the last first."""
        while self.children:
            self.children.pop().stop()

    def __enter__(self) -> Self:
        """Nothing to do: programs start when they are asked to."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stop everything, whatever happened."""
        self.stop()


def _plain(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would send a program elsewhere: proxies, and the user's own cluster."""
    dropped = {"kubeconfig", "kubernetes_service_host", "kubernetes_service_port"}
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.lower().endswith("_proxy") and key.lower() not in dropped
    }
    return {**kept, **extra}
