"""Patterns and faults: lists and manual pages."""

from tillerman.cli.console import document, say
from tillerman.patterns.catalogue import HEADINGS, PATTERN_HEADINGS, Pattern, page_of
from tillerman.patterns.fault import Fault, fault_id, pattern_id


def pattern_list(found: tuple[Pattern, ...], *, json: bool) -> None:
    """Prints every pattern in a line."""
    if json:
        document({"patterns": [_pattern(one) for one in found]})
        return
    for one in found:
        say((f"{one.id:<24}", "bold"), one.first_line.partition(": ")[2], hang=24)


def pattern_page(found: Pattern, *, json: bool) -> None:
    """Prints a pattern's manual page, and its faults."""
    if json:
        document({**_pattern(found), "page": found.page})
        return
    _page(found.page)
    if found.faults:
        say("")
        say(("Faults", "bold"))
        for fault in found.faults:
            say((f"{fault_id(fault)}", "bold"), "  ", page_of(fault).splitlines()[0], indent=2, hang=4)


def fault_list(found: tuple[Pattern, ...], *, json: bool) -> None:
    """Prints every fault in a line, by pattern."""
    if json:
        document({"faults": [_fault(fault) for one in found for fault in one.faults]})
        return
    for one in (one for one in found if one.faults):
        say((one.title, "bold"))
        for fault in one.faults:
            say((fault_id(fault), "cyan"), "  ", page_of(fault).splitlines()[0], indent=2, hang=4)


def fault_page(found: type[Fault], *, json: bool) -> None:
    """Prints a fault's manual page."""
    if json:
        document({**_fault(found), "page": page_of(found)})
        return
    say((fault_id(found), "bold cyan"), f"  ({pattern_id(found)})")
    say("")
    _page(page_of(found))


def _page(page: str) -> None:
    """Prints a manual page: what it is, then headings with their paragraphs, filled to the terminal."""
    for at, block in enumerate(page.split("\n\n")):
        lines = block.splitlines()
        if at:
            say("")
        if lines[0] in (*HEADINGS, *PATTERN_HEADINGS):
            say((lines.pop(0), "bold"))
        say((" ".join(lines), "" if at else "bold"))


def _pattern(one: Pattern) -> dict[str, object]:
    return {
        "id": one.id,
        "title": one.title,
        "summary": one.first_line,
        "faults": [fault_id(f) for f in one.faults],
    }


def _fault(fault: type[Fault]) -> dict[str, object]:
    return {"id": fault_id(fault), "pattern": pattern_id(fault), "summary": page_of(fault).splitlines()[0]}
