"""`tillerman patterns` and `tillerman faults`: the manual of the catalogue."""

from typing import Annotated

import typer

from tillerman.cli import options


def pattern_names(incomplete: str) -> list[str]:
    """The ids of patterns that begin so, for the shell."""
    from tillerman.patterns import catalogue

    return [one.id for one in catalogue.patterns() if one.id.startswith(incomplete)]


def fault_names(incomplete: str) -> list[str]:
    """The ids of faults that begin so, for the shell."""
    from tillerman.patterns import catalogue
    from tillerman.patterns.fault import fault_id

    return [name for one in catalogue.faults() if (name := fault_id(one)).startswith(incomplete)]


_PAGE = "Print the manual page of this one."
PatternArgument = Annotated[
    str, typer.Argument(metavar="[NAME]", help=_PAGE, show_default=False, autocompletion=pattern_names)
]
FaultArgument = Annotated[
    str, typer.Argument(metavar="[NAME]", help=_PAGE, show_default=False, autocompletion=fault_names)
]


def patterns(name: PatternArgument = "", json: options.JsonOption = False) -> None:
    """List the patterns, or print one's manual page."""
    from tillerman.cli import show_catalogue
    from tillerman.patterns import catalogue

    if name:
        show_catalogue.pattern_page(catalogue.pattern_named(name), json=json)
    else:
        show_catalogue.pattern_list(catalogue.patterns(), json=json)


def faults(name: FaultArgument = "", json: options.JsonOption = False) -> None:
    """List the faults, or print one's manual page."""
    from tillerman.cli import show_catalogue
    from tillerman.patterns import catalogue

    if name:
        show_catalogue.fault_page(catalogue.fault_named(name), json=json)
    else:
        show_catalogue.fault_list(catalogue.patterns(), json=json)
