"""The catalogue: a function of the folder.

A pattern is a package here, a fault is a module in it; nothing is listed.
"""

import difflib
import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import tillerman.patterns as here
from tillerman.errors import UsageError
from tillerman.patterns.fault import Fault, fault_id, pattern_id

#: The headings of a fault's manual page, in order.
HEADINGS = ("What happens", "How it shows", "When we stay silent", "What we propose", "Sources")
#: The headings of a pattern's manual page, in order.
PATTERN_HEADINGS = (
    *("What it is for LLMs", "When to apply", "When not", "How it is checked", "Sources"),
    "Category",
)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One entry of the catalogue: its id, its title, its manual page and its faults by id.

    The page is the docstring of the package.
    """

    id: str
    title: str
    page: str
    faults: tuple[type[Fault], ...]

    @property
    def first_line(self) -> str:
        """What the pattern is, in a sentence."""
        return self.page.splitlines()[0]


def page_of(fault: type[Fault]) -> str:
    """A fault's manual page: the docstring of its module."""
    return inspect.cleandoc(importlib.import_module(fault.__module__).__doc__ or "")


@cache
def patterns() -> tuple[Pattern, ...]:
    """Every pattern with its faults, by id."""
    found = []
    for package in sorted(m.name for m in pkgutil.iter_modules(here.__path__) if m.ispkg):
        module = importlib.import_module(f"{here.__name__}.{package}")
        names = sorted(m.name for m in pkgutil.iter_modules(module.__path__))
        faults = [_fault_in(importlib.import_module(f"{module.__name__}.{name}")) for name in names]
        page = inspect.cleandoc(module.__doc__ or "")
        title = page.splitlines()[0].split(":")[0] if page else package
        found.append(
            Pattern(
                id=package.replace("_", "-"), title=title, page=page, faults=tuple(f for f in faults if f)
            )
        )
    return tuple(found)


def _fault_in(module: ModuleType) -> type[Fault] | None:
    """The one fault a module holds; a module without any is a part that faults of its pattern share.

    Raises: TypeError when there are several, or its manual page lacks a heading: the message names the file.
    """
    own = [
        item
        for item in vars(module).values()
        if inspect.isclass(item) and issubclass(item, Fault) and item.__module__ == module.__name__
    ]
    if not own:
        return None
    if len(own) > 1:
        raise TypeError(f"{module.__file__}: holds {len(own)} faults, one file holds one")
    missing = [heading for heading in HEADINGS if f"\n{heading}\n" not in (module.__doc__ or "")]
    if missing:
        raise TypeError(f"{module.__file__}: its docstring lacks the heading `{missing[0]}`")
    found: type[Fault] = own[0]
    return found


@cache
def faults() -> tuple[type[Fault], ...]:
    """Every fault, by pattern and id."""
    return tuple(fault for pattern in patterns() for fault in pattern.faults)


def fault_named(name: str) -> type[Fault]:
    """The fault of that id.

    Raises: UsageError when there is none.
    """
    found = next((fault for fault in faults() if fault_id(fault) == name), None)
    if found is None:
        raise UsageError(
            f"no fault is called `{name}`", f"`tillerman faults` lists them{_near(name, _fault_ids())}"
        )
    return found


def pattern_named(name: str) -> Pattern:
    """The pattern of that id.

    Raises: UsageError when there is none.
    """
    found = next((pattern for pattern in patterns() if pattern.id == name), None)
    if found is None:
        ids = [pattern.id for pattern in patterns()]
        raise UsageError(
            f"no pattern is called `{name}`", f"`tillerman patterns` lists them{_near(name, ids)}"
        )
    return found


def _fault_ids() -> list[str]:
    return [fault_id(fault) for fault in faults()]


def _near(name: str, ids: list[str]) -> str:
    close = difflib.get_close_matches(name, ids, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


__all__ = ["Pattern", "fault_named", "faults", "page_of", "pattern_id", "pattern_named", "patterns"]
