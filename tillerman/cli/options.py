"""The options that every command which reads a cluster has, and the reading itself."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tillerman.errors import UsageError

if TYPE_CHECKING:
    from tillerman.cluster.live import Options
    from tillerman.cluster.snapshot import Snapshot
    from tillerman.cluster.write import Written

#: The snapshot directory inside the package: the cluster of `tillerman demo` and of `--demo`.
RECORDED = Path(__file__).parent.parent / "recorded"

FROM = "Which cluster"

SnapshotOption = Annotated[
    str | None,
    typer.Option("--snapshot", metavar="DIR", help="Read a snapshot directory.", rich_help_panel=FROM),
]
DemoOption = Annotated[
    bool,
    typer.Option("--demo", help="Read the recorded cluster that comes with tillerman.", rich_help_panel=FROM),
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="NAME",
        help="Read a live cluster by its kubeconfig context.",
        rich_help_panel=FROM,
    ),
]
KubeconfigOption = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig", metavar="FILE", help="The kubeconfig to take contexts from.", rich_help_panel=FROM
    ),
]
NamespaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NS",
        help="Only this namespace; may be given again.",
        rich_help_panel=FROM,
    ),
]
PrometheusOption = Annotated[
    str | None,
    typer.Option(
        "--prometheus",
        metavar="URL",
        help="Read series from Prometheus instead of the pods.",
        rich_help_panel=FROM,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(frozen=True, kw_only=True)
class From:
    """Which cluster to read: a directory, the recorded one, or a live one (the default)."""

    snapshot: str | None = None
    demo: bool = False
    context: str | None = None
    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    prometheus: str | None = None


def chosen_by(
    snapshot: SnapshotOption = None,
    demo: DemoOption = False,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    namespace: NamespaceOption = None,
    prometheus: PrometheusOption = None,
) -> From:
    """The choice of a cluster that these options make.

    Raises: UsageError when they name more than one.
    """
    if sum((snapshot is not None, demo, bool(context or kubeconfig))) > 1:
        raise UsageError(
            "more than one cluster is named",
            "give one of `--snapshot`, `--demo` and `--context` or `--kubeconfig`",
        )
    if prometheus and (snapshot is not None or demo):
        raise UsageError(
            "`--prometheus` is for a live cluster", "a snapshot holds its own scrapes in metrics/"
        )
    return From(
        snapshot=str(RECORDED) if demo else snapshot,
        demo=demo,
        context=context,
        kubeconfig=kubeconfig,
        namespaces=tuple(namespace or ()),
        prometheus=prometheus,
    )


def choosing(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A command whose first parameter is the chosen cluster, as a command with the options that choose it.

    `names` are the parameters of `chosen_by` that the command offers; all of them when none is given.
    """
    offered = [p for p in signature(chosen_by).parameters.values() if not names or p.name in names]

    def wrapped(command: Callable[..., Any]) -> Callable[..., Any]:
        own = list(signature(command).parameters.values())[1:]

        @wraps(command)
        def called(**given: Any) -> Any:
            choice = {p.name: given.pop(p.name) for p in offered}
            return command(chosen_by(**choice), **given)

        keyword = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in (*own, *offered)]
        called.__signature__ = signature(command).replace(parameters=keyword)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in keyword}
        return called

    return wrapped


def read(chosen: From) -> "Snapshot":
    """The snapshot of the chosen cluster, with progress on a terminal while it is read.

    Raises: TillermanError as the adapters do.
    """
    if chosen.snapshot is not None:
        from tillerman.cluster import directory

        with progress(f"reading {chosen.snapshot}"):
            found = directory.read(chosen.snapshot, name="the recorded cluster" if chosen.demo else "")
        gc.freeze()  # one command, one snapshot: the collector need not visit it again and again
        return found
    from tillerman.cluster import live

    with progress("reading the cluster") as say:
        return live.read(_live(chosen), say)


def _live(chosen: From) -> "Options":
    from tillerman.cluster import live

    return live.Options(
        context=chosen.context,
        kubeconfig=chosen.kubeconfig,
        namespaces=chosen.namespaces,
        prometheus=chosen.prometheus,
    )


def write(chosen: From, directory: str, *, force: bool) -> "Written":
    """Writes the chosen live cluster as a snapshot directory.

    Raises: TillermanError as the live adapter does; UsageError when the directory is in use.
    """
    from tillerman.cluster import live

    with progress(f"writing {directory}") as say:
        return live.write(_live(chosen), directory, say, force=force)


class Progress:
    """Says on stderr what is being done, while it is done: a spinner on a terminal, nothing elsewhere."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, now: str) -> None:
        """Says what is being done now."""


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A spinner on stderr while the block runs, when stderr is a terminal."""
    if not sys.stderr.isatty():
        yield Progress(what)
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:

        class Spinning(Progress):
            def __call__(self, now: str) -> None:
                status.update(f"{what}: {now}")

        yield Spinning(what)
