"""Waiting for something to become so, with a bound."""

import time
from collections.abc import Callable
from typing import TypeVar

from .errors import LabError

POLL_S = 0.05
Found = TypeVar("Found")


def wait_for(what: str, found: Callable[[], Found], within_s: float, hint: str = "") -> Found:
    """The first answer of `found` that counts as true. Raises `LabError` when there is none in time."""
    until = time.monotonic() + within_s
    while not (answer := found()):
        if time.monotonic() > until:
            raise LabError(f"{what}: not within {within_s:.0f} s", hint)
        time.sleep(POLL_S)
    return answer
