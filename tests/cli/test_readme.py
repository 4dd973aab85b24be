"""README says what is true: its catalogue is generated. `UPDATE_SURFACE=1 pytest tests/cli` writes it anew."""

import os
import re
from pathlib import Path

from tillerman.patterns.catalogue import page_of, patterns
from tillerman.patterns.fault import fault_id

README = Path(__file__).parent.parent.parent / "README.md"


def catalogue_table() -> str:
    rows = ["| pattern | faults it recognises |", "|---|---|"]
    for one in patterns():
        faults = " · ".join(f"`{fault_id(fault)}`" for fault in one.faults)
        rows.append(f"| {one.title} | {faults or '(manual page)'} |")
    return "\n".join(rows)


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
    assert all(page_of(fault) for one in patterns() for fault in one.faults)
