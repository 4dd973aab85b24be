"""`tillerman diagnose`: what is wrong with the LLMs served, and why."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tillerman.cli import options

if TYPE_CHECKING:
    from tillerman.patterns.diagnosis import Diagnosis


class Format(StrEnum):
    """How a diagnosis is printed."""

    text = "text"
    json = "json"
    markdown = "markdown"


class FailOn(StrEnum):
    """The least severity of a root that makes the exit status 1."""

    critical = "critical"
    warning = "warning"


TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="[TARGET]", help="Only what is about this object: `Kind/namespace/name`.", show_default=False
    ),
]
FormatOption = Annotated[Format, typer.Option("--output", "-o", help="For people, programs or a ticket.")]
FailOnOption = Annotated[
    FailOn | None, typer.Option("--fail-on", help="Exit with status 1 when a root is this severe or worse.")
]


@options.choosing()
def diagnose(
    chosen: options.From,
    target: TargetArgument = "",
    output: FormatOption = Format.text,
    json: options.JsonOption = False,
    fail_on: FailOnOption = None,
) -> None:
    """Say what is wrong with the LLMs served, why, and what to do: roots first."""
    from tillerman import desk
    from tillerman.cli import show

    cluster = options.read(chosen)
    with options.progress("diagnosing"):
        found = desk.diagnose(cluster, target, chosen.namespaces)
    show.diagnosis(found, Format.json if json else output)
    raise typer.Exit(status(found, fail_on))


def status(found: "Diagnosis", fail_on: FailOn | None) -> int:
    """1 when a root is as severe as `fail_on` or worse, else 0."""
    severe = {"critical"} if fail_on == FailOn.critical else {"critical", "warning"}
    return int(fail_on is not None and any(root.severity in severe for root in found.roots))
