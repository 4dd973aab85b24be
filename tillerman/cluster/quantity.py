"""Kubernetes quantities and durations as plain numbers, and back as people write them."""

import re

GIB = 1024**3
MIB = 1024**2

_UNITS = {
    "": 1.0,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 1024.0,
    "Mi": 1024.0**2,
    "Gi": 1024.0**3,
    "Ti": 1024.0**4,
    "Pi": 1024.0**5,
    "Ei": 1024.0**6,
}
_QUANTITY = re.compile(r"^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)$")


def quantity(text: str | int | float | None) -> float | None:
    """The number a quantity stands for (bytes, cores, devices).

    Or None when it is absent or not a quantity.
    """
    if text is None or isinstance(text, int | float):
        return None if text is None else float(text)
    found = _QUANTITY.match(text.strip())
    if not found or found[2] not in _UNITS:
        return None
    try:
        return float(found[1]) * _UNITS[found[2]]
    except ValueError:
        return None


def gibibytes(size_bytes: float) -> str:
    """A size as `12.5 GiB`, or in MiB below one GiB."""
    return f"{size_bytes / GIB:.3g} GiB" if abs(size_bytes) >= GIB else f"{size_bytes / MIB:.3g} MiB"


def whole_gi(size_bytes: float) -> str:
    """A size rounded up to whole GiB in Kubernetes notation: `24Gi`."""
    return f"{-(-int(size_bytes) // GIB)}Gi"


def counted(count: int, noun: str) -> str:
    """A number of things as people say it: `1 node`, `3 nodes`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """A duration as people say it: `45 s`, `6 min 30 s`, `3 h 5 min`, `2 d 4 h`."""
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {smaller_unit}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
