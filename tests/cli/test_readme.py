"""README says what is true: its catalogue is generated. `make fix` writes it anew."""

import os
import re
from pathlib import Path

from tillerman.patterns.catalogue import patterns

README = Path(__file__).parent.parent.parent / "README.md"


def catalogue_table() -> str:
    rows = (f"| `{one.id}` | {one.first_line.partition(': ')[2]} |" for one in patterns())
    return "\n".join(("| pattern | what good looks like |", "|---|---|", *rows))


def test_readme_lists_the_catalogue() -> None:
    text = README.read_text("utf-8")
    wanted = re.sub(
        r"(<!-- catalogue -->\n).*(<!-- /catalogue -->)",
        lambda m: f"{m[1]}{catalogue_table()}\n{m[2]}",
        text,
        flags=re.DOTALL,
    )
    if os.environ.get("UPDATE_SURFACE"):
        README.write_text(wanted, "utf-8")
    assert README.read_text("utf-8") == wanted
