"""`tillerman explain`: one finding in full."""

from typing import Annotated

import typer

from tillerman.cli import options

FindingArgument = Annotated[
    str, typer.Argument(metavar="FINDING", help="A finding's id, or the unique beginning of it.")
]


@options.choosing()
def explain(
    chosen: options.From,
    finding: FindingArgument,
    json: options.JsonOption = False,
) -> None:
    """Explain one finding: cause to effect, all evidence, the change and its what-if."""
    from tillerman import desk
    from tillerman.cli import show

    cluster = options.read(chosen)
    with options.progress("diagnosing"):
        found, diagnosis = desk.explain(cluster, finding)
    show.finding(found, diagnosis, json=json)
