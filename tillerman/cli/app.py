"""The commands, by name; each lives in a module of its own and imports what it needs when it runs."""

import typer

from tillerman.cli import catalogue, diagnose, explain, look
from tillerman.cli.demo import demo
from tillerman.cli.snapshot import snapshot

app = typer.Typer(
    name="tillerman",
    help="Sees, diagnoses and repairs LLM workloads on Kubernetes.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would cost half a second before the first word
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(demo)
app.command()(diagnose.diagnose)
app.command()(look.look)
app.command()(explain.explain)
app.command()(catalogue.patterns)
app.command()(catalogue.faults)
app.command()(snapshot)


def version(show: bool) -> None:
    """Prints the version and stops."""
    if show:
        from importlib.metadata import version as installed

        print(f"tillerman {installed('tillerman')}")
        raise typer.Exit


@app.callback()
def tillerman(
    show: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Print the version."),
) -> None:
    """Sees, diagnoses and repairs LLM workloads on Kubernetes."""
