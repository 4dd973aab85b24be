"""A diagnosis and a finding for people at a terminal."""

import json
from typing import Any

from tillerman.cli.console import SEVERITY, say
from tillerman.cluster.change import ABSENT, Change
from tillerman.cluster.index import Source
from tillerman.patterns.catalogue import faults
from tillerman.patterns.diagnosis import Diagnosis, Finding
from tillerman.patterns.fault import Evidence, fault_id

#: Lines of evidence in the overview; `explain` shows all.
FEW = 3
#: Not-seen lines in the overview; `--json` has all.
FEW_UNSEEN = 6


def diagnosis_text(found: Diagnosis) -> None:
    """Prints the roots with their symptoms, what is only worth knowing, what was not seen, and the sum."""
    source_line(found.source)
    roots = [f for f in found.roots if f.severity != "info"]
    for root in roots:
        say("")
        _heading(root)
        _lines("why", root.explanation)
        _seen(root.evidence[:FEW])
        _repair(root)
        _symptoms(found.symptoms_of(root))
    notes = [f for f in found.roots if f.severity == "info"]
    if notes:
        say("")
        say(("Worth knowing", "bold"))
        for note in notes:
            say(f"{note.fault} ", (str(note.subject), "cyan"), f" {note.summary}", indent=2, hang=2)
    _unseen(found.source)
    say("")
    say((_sum(found, roots), "bold"))
    if roots:
        say(f"`tillerman explain {roots[0].id}` shows all evidence", hang=2)


def finding_text(found: Finding, whole: Diagnosis) -> None:
    """Prints one finding with everything known about it."""
    _heading(found)
    say("")
    _lines("why", found.explanation)
    _seen(found.evidence)
    _repair(found)
    _lines("hurts", [str(ref) for ref in found.related])
    _lines("root", found.explained_by)
    _symptoms(whole.symptoms_of(found))
    if any(fault_id(fault) == found.fault for fault in faults()):
        say("")
        say(f"`tillerman faults {found.fault}` is the manual page", hang=2)


def _symptoms(found: tuple[Finding, ...]) -> None:
    for symptom in found:
        label, subject = ("symptom  ", "dim"), (str(symptom.subject), "cyan")
        say(label, f"{symptom.fault} ", subject, f" {symptom.summary}", indent=2, hang=9)


def source_line(source: Source) -> None:
    """Prints which cluster this is, and its instant."""
    what = f"{source.name} at {source.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    say((what, "dim"))


def _heading(found: Finding) -> None:
    label = found.severity.upper()
    sure = "" if found.certainty == "proven" else "  (likely: evidence is thin)"
    say((label, SEVERITY[found.severity]), "  ", (str(found.subject), "bold cyan"), (sure, "dim"), hang=2)
    say((found.fault, "bold"), ": ", found.summary, indent=2, hang=2)


def _lines(label: str, lines: tuple[str, ...] | list[str]) -> None:
    for at, line in enumerate(lines):
        say((f"{label if at == 0 else '':<9}", "dim"), line, indent=2, hang=9)


def _seen(evidence: tuple[Evidence, ...]) -> None:
    """Prints evidence: each place once, what was seen there under it."""
    place = ""
    for at, item in enumerate(evidence):
        if item.ref != place:
            say((f"{'seen' if at == 0 else '':<9}", "dim"), (item.ref, "cyan"), indent=2, hang=9)
            place = item.ref
        say((f"{item.path}: ", "dim"), item.value, indent=13, hang=2)


def _repair(found: Finding) -> None:
    for change in found.changes:
        _change(change)
    if found.changes:
        say(
            (f"{'what-if':<9}", "dim"),
            ("the fault is gone, and nothing new appears", "green"),
            indent=2,
            hang=9,
        )
    _lines("advice", found.advice)


def _change(change: Change) -> None:
    say((f"{'change':<9}", "dim"), (str(change.target), "cyan"), indent=2, hang=9)
    for edit in change.edits:
        say(edit.path, indent=13, hang=2)
        say(("- ", "red"), (value_text(edit.before), "red"), indent=13, hang=2)
        say(("+ ", "green"), (value_text(edit.after), "green"), indent=13, hang=2)
    say(("because ", "dim"), change.why, indent=11, hang=2)


def value_text(value: Any) -> str:
    """A value of a manifest on one line: JSON, or a word for a field that is not there."""
    return "(not set)" if value is ABSENT else json.dumps(value, ensure_ascii=False, default=str)


def _unseen(source: Source) -> None:
    lines = [line for line in source.not_seen if line != "secrets"]
    if not lines:
        return
    say("")
    say(("Not seen, so neither blamed nor cleared", "bold"))
    for line in lines[:FEW_UNSEEN]:
        say(line, indent=2, hang=2)
    if len(lines) > FEW_UNSEEN:
        say(f"and {len(lines) - FEW_UNSEEN} more (`--json` lists all)", indent=2)


def _sum(found: Diagnosis, roots: list[Finding]) -> str:
    if not roots:
        return "Nothing is wrong with what was seen."
    counts = [(sum(f.severity == s for f in roots), s) for s in ("critical", "warning")]
    said = ", ".join(f"{count} {severity}" for count, severity in counts if count)
    symptoms = sum(not f.root for f in found.findings)
    also = f"; {symptoms} symptom{'s' if symptoms != 1 else ''} explained" if symptoms else ""
    return f"{len(roots)} root cause{'s' if len(roots) != 1 else ''}: {said}{also}."
