"""`tillerman patterns` and `tillerman faults`: the manual of the catalogue."""

from typing import Annotated

import typer

from tillerman.cli import options

NameArgument = Annotated[
    str, typer.Argument(metavar="[NAME]", help="Print the manual page of this one.", show_default=False)
]


def patterns(name: NameArgument = "", json: options.JsonOption = False) -> None:
    """List the patterns, or print one's manual page."""
    from tillerman.cli import show_catalogue
    from tillerman.patterns import catalogue

    if name:
        show_catalogue.pattern_page(catalogue.pattern_named(name), json=json)
    else:
        show_catalogue.pattern_list(catalogue.patterns(), json=json)


def faults(name: NameArgument = "", json: options.JsonOption = False) -> None:
    """List the faults, or print one's manual page."""
    from tillerman.cli import show_catalogue
    from tillerman.patterns import catalogue

    if name:
        show_catalogue.fault_page(catalogue.fault_named(name), json=json)
    else:
        show_catalogue.fault_list(catalogue.patterns(), json=json)
