"""Logs of containers: bounded text, and the line that tells most."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Protocol

#: Most of a log that is looked at: its beginning, where a start's settings and first error are, and its end.
HEAD_BYTES = 1024**2
TAIL_BYTES = 3 * 1024**2

_PREFIX = re.compile(r"^\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) (?:(?:stdout|stderr) [FP] )?")
_PROCESS = re.compile(r"^\((?:EngineCore|APIServer|Worker)[^)]*\)\s*")
_CLOCK = re.compile(r"\b(?:INFO|WARNING|ERROR|DEBUG) (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning)\b\s*:?.*")
_SERIOUS = re.compile(
    r"(?i)\b(?:fatal|panic|critical|error|exception|traceback|failed|cannot|unable to|denied|forbidden"
    r"|no such)\b"
)
_LAST_WORDS = re.compile(
    r"Engine core initialization failed|See root cause above|WorkerProc (?:failed|initialization)"
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a log: its number from 1, and its text without the container runtime's prefix."""

    number: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Log:
    """What one container printed; `truncated` when its middle was left out."""

    text: str
    truncated: bool = False

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The lines, blank ones left out."""
        return tuple(
            Line(number=n, text=_PREFIX.sub("", text.rstrip("\r"), count=1))
            for n, text in enumerate(self.text.split("\n"), 1)
            if text
        )

    def find(self, pattern: str) -> Iterator[tuple[Line, re.Match[str]]]:
        """Lines that match, in order, with the match."""
        compiled = re.compile(pattern)
        if not re.search(pattern, self.text, re.MULTILINE):
            return
        for line in self.lines:
            found = compiled.search(line.text)
            if found:
                yield line, found

    def first(self, pattern: str) -> tuple[Line, re.Match[str]] | None:
        """The first line that matches."""
        return next(self.find(pattern), None)

    def last(self, pattern: str) -> tuple[Line, re.Match[str]] | None:
        """The last line that matches."""
        return next(reversed(tuple(self.find(pattern))), None)

    @cached_property
    def telling(self) -> Line | None:
        """The line that tells most about why it ended.

        The exception of the first traceback, else the first serious line.
        """
        lines = [Line(number=n.number, text=_PROCESS.sub("", n.text)) for n in self.lines]
        for at, line in enumerate(lines):
            if "Traceback (most recent call last)" in line.text:
                found = next((x for x in lines[at:] if _EXCEPTION.search(_message(x.text))), None)
                if found:
                    return Line(number=found.number, text=_message(found.text))
        serious = [x for x in lines if _SERIOUS.search(x.text) and not _LAST_WORDS.search(x.text)]
        return serious[0] if serious else lines[-1] if lines else None


def _message(text: str) -> str:
    """A line of a logged traceback without the logger's own prefix."""
    return re.sub(r"^(?:ERROR|CRITICAL) \d\d-\d\d [0-9:]+ \[[^\]]*\]\s*", "", text).strip()


def clock(line: Line, now: datetime) -> datetime | None:
    """The time vLLM's logger wrote on a line (it prints no year: the last such day before `now`), or None."""
    found = _CLOCK.search(line.text)
    if not found:
        return None
    month, day, hour, minute, second = (int(part) for part in found.groups())
    for year in (now.year, now.year - 1):
        try:
            at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            continue
        if at <= now + timedelta(days=1):
            return at
    return None


class Logs(Protocol):
    """Where logs come from: read when asked for, bounded, None when not seen."""

    @property
    def problems(self) -> Sequence[str]:
        """What could not be read so far, or only in part, one line each."""
        ...

    def read(self, namespace: str, pod: str, container: str, *, previous: bool = False) -> Log | None:
        """What that container prints now, or printed in its previous life."""
        ...


class NoLogs:
    """The source of logs where there are none."""

    problems: Sequence[str] = ()

    def read(self, namespace: str, pod: str, container: str, *, previous: bool = False) -> Log | None:
        """Always None: nothing was seen."""
        return None
