"""`tillerman snapshot`: a live cluster as a directory."""

from typing import Annotated

import typer

from tillerman.cli import options

OutArgument = Annotated[
    str, typer.Option("--output", "-o", metavar="DIR", help="The directory to write; new or empty.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an older snapshot in that directory.")]


@options.choosing("context", "kubeconfig", "namespace", "prometheus")
def snapshot(
    chosen: options.From,
    output: OutArgument,
    force: ForceOption = False,
    json: options.JsonOption = False,
) -> None:
    """Write a live cluster as a snapshot directory: never secrets, tokens masked."""
    from tillerman.cli import show_written

    show_written.written(options.write(chosen, output, force=force), json)
