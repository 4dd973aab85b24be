"""The public surface as files: help texts and the catalogue.

`make fix` writes them anew.
"""

import os
from pathlib import Path

import pytest

from tillerman import cli
from tillerman.patterns.catalogue import patterns

SURFACE = Path(__file__).parent / "surface"
COMMANDS = ("", "demo", "diagnose", "look", "explain", "patterns", "faults", "snapshot")


def assert_surface(name: str, text: str) -> None:
    path = SURFACE / name
    if os.environ.get("UPDATE_SURFACE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8"), f"{name} changed: run `make fix` and look at the difference"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c or "tillerman")
def test_help_is_what_the_surface_says(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert cli.run([*command.split(), "--help"]) == 0
    assert_surface(f"help-{command or 'tillerman'}.txt", capsys.readouterr().out)


def test_catalogue_is_what_the_surface_says() -> None:
    """Patterns only: a fault is one file and one scenario, and no list of faults is kept anywhere."""
    assert_surface("patterns.txt", "".join(f"{one.id}: {one.first_line}\n" for one in patterns()))


def test_every_pattern_of_the_design_has_a_page() -> None:
    assert {one.id for one in patterns()} == {
        "access-control", "agentic-workflows", "automated-placement", "batch-job", "configuration",
        "controller", "daemon-service", "declarative-deployment", "disaggregated-serving", "elastic-scale",
        "health-probe", "init-container", "managed-lifecycle", "model-data-staging", "predictable-demands",
        "rag-composition", "stateful-service", "stateless-service", "token-aware-routing",
    }  # fmt: skip
    for one in patterns():
        for heading in ("What it is for LLMs", "When to apply", "When not", "How it is checked", "Sources"):
            assert f"\n{heading}\n" in one.page, (one.id, heading)
