"""The lab's two commands: build its programs, and run it."""

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Annotated

import typer

from .build import build, is_built
from .errors import LabError, NotBuilt
from .lab import SPEED, running_lab

BASE = 27000


def say(text: str) -> None:
    """Tell the person at the terminal; never the program behind a pipe."""
    print(text, file=sys.stderr, flush=True)


def build_command() -> None:
    """Parse the command line and build the lab."""
    typer.run(make)


def make(
    check: Annotated[bool, typer.Option("--check", help="Only tell whether it is built.")] = False,
) -> None:
    """Build what is missing of the lab's programs, and record the CRDs."""
    _told(_check if check else lambda: build(say))


def _check() -> None:
    if not is_built():
        raise NotBuilt("the lab is not built", hint="run `make lab-build`")
    say("the lab is built")


def run_command() -> None:
    """Parse the command line and run the lab."""
    typer.run(start)


def start(
    speed: Annotated[float, typer.Option(min=1, help="Seconds in the lab per second of the clock.")] = SPEED,
    ports: Annotated[int, typer.Option(metavar="BASE", help="First of the twenty ports to use.")] = BASE,
    empty: Annotated[bool, typer.Option("--empty", help="No nodes and no models.")] = False,
) -> None:
    """Start the lab, print the line that points kubectl at it, and run until Ctrl-C."""
    _told(lambda: _run(speed, ports, empty))


def _run(speed: float, ports: int, empty: bool) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    started = time.monotonic()
    try:
        with running_lab(base=ports, exact=True, speed=speed, with_estate=not empty, say=say) as lab:
            say(f"the lab is up after {time.monotonic() - started:.1f} s; Ctrl-C stops it")
            print(f"export KUBECONFIG={lab.kubeconfig}", flush=True)
            say("contexts: lab-admin (current), lab-reader, lab-writer, lab-nobody")
            lab.processes.watch()
    except KeyboardInterrupt:
        say("stopped")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _told(act: Callable[[], None]) -> None:
    """Do it; show an error as the project's other commands do."""
    try:
        act()
    except LabError as error:
        say(f"error: {error}")
        if error.hint:
            say(f"hint: {error.hint}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
