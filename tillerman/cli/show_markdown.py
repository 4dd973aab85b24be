"""A diagnosis as Markdown, for a ticket."""

from tillerman.cli.console import safe
from tillerman.cli.show_diagnosis import value_text
from tillerman.cluster.change import Change
from tillerman.patterns.diagnosis import Diagnosis, Finding


def markdown(found: Diagnosis) -> str:
    """The whole diagnosis: a heading for each root, symptoms under it."""
    source = found.source
    lines = [
        f"# Diagnosis of `{_code(source.name)}`",
        "",
        f"Taken at {source.taken_at:%Y-%m-%d %H:%M:%S} UTC.",
    ]
    roots = [f for f in found.roots if f.severity != "info"]
    if not roots:
        lines += ["", "Nothing is wrong with what was seen."]
    for root in roots:
        lines += ["", *_root(root, found)]
    notes = [f for f in found.roots if f.severity == "info"]
    if notes:
        lines += [
            "",
            "## Worth knowing",
            "",
            *(f"- `{n.fault}` `{n.subject}`: {_text(n.summary)}" for n in notes),
        ]
    unseen = [line for line in source.not_seen if line != "secrets"]
    if unseen:
        lines += ["", "## Not seen", "", *(f"- {_text(line)}" for line in unseen)]
    return "\n".join(lines) + "\n"


def _root(root: Finding, whole: Diagnosis) -> list[str]:
    sure = "" if root.certainty == "proven" else " (likely)"
    lines = [
        f"## {root.severity.capitalize()}: `{root.fault}` on `{_code(str(root.subject))}`{sure}",
        "",
        _text(root.summary),
        "",
    ]
    lines += [f"{at}. {_text(step)}" for at, step in enumerate(root.explanation, 1)]
    lines += ["", "| evidence | where | what |", "|---|---|---|"]
    lines += [
        f"| {e.source} | `{_cell(e.ref)}` `{_cell(e.path)}` | `{_cell(e.value)}` |" for e in root.evidence
    ]
    for change in root.changes:
        lines += ["", *_change(change)]
    if root.advice:
        lines += ["", *(f"- {_text(item)}" for item in root.advice)]
    symptoms = whole.symptoms_of(root)
    if symptoms:
        lines += [
            "",
            "Symptoms:",
            "",
            *(f"- `{s.fault}` on `{s.subject}`: {_text(s.summary)}" for s in symptoms),
        ]
    return lines


def _change(change: Change) -> list[str]:
    lines = [
        f"Proposed change of `{_code(str(change.target))}` ({_text(change.why)}), borne out by its what-if:",
        "",
        "```diff",
    ]
    for edit in change.edits:
        lines += [f"  {edit.path}", f"- {safe(value_text(edit.before))}", f"+ {safe(value_text(edit.after))}"]
    return [*lines, "```"]


def _text(text: str) -> str:
    """Text of a cluster outside code: nothing in it is markup but the backticks that we write ourselves."""
    return safe(text).replace("<", "&lt;").replace("|", "\\|").replace("![", "!\\[")


def _code(text: str) -> str:
    return safe(text).replace("`", "'")


def _cell(text: str) -> str:
    return _code(text).replace("|", "\\|")[:300]
