"""A change as data: which fields of which object, what they were and what they shall be.

Diff, precondition, apply and rollback are all read off this one value. A path is written as people write it:
`spec.template.spec.containers[0].args`, with keys that hold dots or slashes quoted:
`spec.nodeSelector["nvidia.com/gpu.product"]`.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from tillerman.cluster.model import Ref
from tillerman.errors import UsageError


class Absent:
    """The value of a field that is not there; there is one, `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False

    def __copy__(self) -> "Absent":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Absent":
        return self


ABSENT: Final = Absent()

_SEGMENT = re.compile(r'\.?([^.\[\]"]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]')
_PLAIN = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*$")

Segments = tuple[str | int, ...]


def segments(path: str) -> Segments:
    """The keys and indexes of a path.

    Raises: UsageError when the path is not one.
    """
    found: list[str | int] = []
    at = 0
    while at < len(path):
        match = _SEGMENT.match(path, at)
        if not match:
            raise UsageError(
                f"`{path}` is not a field path at character {at}", 'like `spec.args[0]` or `data["key"]`'
            )
        name, index, quoted = match.groups()
        if index is not None:
            found.append(int(index))
        else:
            found.append(name if name is not None else re.sub(r"\\(.)", r"\1", quoted))
        at = match.end()
    return tuple(found)


def path_of(parts: Sequence[str | int]) -> str:
    """The path made of these keys and indexes."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN.match(part):
            text += f".{part}" if text else part
        else:
            escaped = part.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


def value_at(raw: Any, path: str) -> Any:
    """The value at a path, or ABSENT."""
    for part in segments(path):
        if isinstance(part, int):
            if not isinstance(raw, list) or part >= len(raw):
                return ABSENT
            raw = raw[part]
        else:
            if not isinstance(raw, dict) or part not in raw:
                return ABSENT
            raw = raw[part]
    return raw


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One field: its path in the object.

    Its value before (ABSENT when it is not there) and after (ABSENT removes it).
    """

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Change:
    """Edits to one object, and the reason in one sentence."""

    target: Ref
    edits: tuple[Edit, ...]
    why: str

    def apply(self, raw: dict[str, Any]) -> dict[str, Any]:
        """The object with the edits made in a copy.

        Raises: UsageError when a field is not what the change says it was, or its place does not exist.
        """
        changed = copy.deepcopy(raw)
        for edit in self.edits:
            if value_at(changed, edit.path) != edit.before:
                raise UsageError(
                    f"`{edit.path}` of {self.target} is no longer `{edit.before}`",
                    "diagnose again: the object changed",
                )
            put_at(changed, edit.path, edit.after)
        return changed


def put_at(raw: Any, path: str, value: Any) -> None:
    """Sets the value at a path in place, making the mappings on the way; ABSENT removes it.

    Raises: UsageError when the path leads nowhere.
    """
    parts = segments(path)
    for part, following in pairwise(parts):
        if isinstance(part, str) and isinstance(raw, dict):
            if raw.get(part) is None:
                raw[part] = [] if isinstance(following, int) else {}
            raw = raw[part]
        elif isinstance(part, int) and isinstance(raw, list) and part < len(raw):
            raw = raw[part]
        else:
            raise UsageError(f"`{path}` leads nowhere at `{part}`")
    last = parts[-1]
    if isinstance(raw, list) and isinstance(last, int) and last <= len(raw):
        if value is ABSENT:
            del raw[last]
        else:
            raw[last : last + 1] = [value]
    elif isinstance(raw, dict) and isinstance(last, str):
        if value is ABSENT:
            raw.pop(last, None)
        else:
            raw[last] = value
    else:
        raise UsageError(f"`{path}` leads nowhere at `{last}`")
