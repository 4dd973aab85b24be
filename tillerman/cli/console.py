"""The terminal: one console for data on stdout, and text from a cluster made safe to print."""

import json
import re
from functools import cache
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

#: Control characters and escape sequences: what a cluster says may not steer the terminal.
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)

SEVERITY = {"critical": "bold red", "warning": "bold yellow", "info": "bold blue"}


@cache
def console() -> Console:
    """The console for stdout: 80 columns where there is no terminal."""
    return Console(highlight=False, markup=False, emoji=False)


def safe(text: str) -> str:
    """Text without control characters, on one line."""
    return _CONTROL.sub("", text.replace("\n", " ").replace("\t", " "))


def styled(*parts: tuple[str, str] | str) -> Text:
    """Text from parts, each plain or with a style."""
    return Text.assemble(*((safe(p), "") if isinstance(p, str) else (safe(p[0]), p[1]) for p in parts))


def say(*parts: tuple[str, str] | str, indent: int = 0, hang: int = 0) -> None:
    """Prints a paragraph: indented, its further lines hanging further in.

    A first part as wide as the hang is a label: the text beside it fills the same column on every line.
    """
    label: tuple[str, str] | str = ""
    rest = parts
    if hang and parts and len(parts[0][0] if isinstance(parts[0], tuple) else parts[0]) == hang:
        label, rest = parts[0], parts[1:]
    width = max(20, console().width - indent - hang)
    for at, line in enumerate(styled(*rest).wrap(console(), width, overflow="fold")):
        line.rstrip()
        before = styled(label) if label and not at else Text(" " * hang if label or at else "")
        console().print(Text(" " * indent) + before + line, overflow="ignore", no_wrap=True, crop=False)


def document(value: dict[str, Any]) -> None:
    """Prints one JSON document, in ASCII where the terminal takes no more."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    if (console().encoding or "utf-8").lower().replace("-", "") != "utf8":
        text = json.dumps(value, indent=2)
    console().file.write(f"{text}\n")
