"""Building the lab's programs from pinned Go modules. What is built stays; what was interrupted resumes."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import crds, modules
from .errors import LabError, NotBuilt
from .go import toolchain
from .places import HOME, bin_folder, crds_file, kserve_folder, required_version
from .processes import leashed

KUBE = "k8s.io/kubernetes"
SAY_EVERY_S = 60
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program of the lab: its name, its package, its linker flags, and minutes on two cores when cold."""

    name: str
    package: str
    flags: str = ""
    kserve: bool = False
    minutes: float


def programs() -> tuple[Program, ...]:
    """All programs, in the order in which building them is shortest: each warms Go's cache for the next."""
    kube = required_version(KUBE)
    major, minor, _ = kube.removeprefix("v").split(".")
    version = "k8s.io/component-base/version"
    told = f"-X {version}.gitVersion={kube} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    kwok = f"-X sigs.k8s.io/kwok/pkg/consts.Version={required_version('sigs.k8s.io/kwok')}"
    return (
        Program(name="kube-apiserver", package=f"{KUBE}/cmd/kube-apiserver", flags=told, minutes=8),
        Program(name="kube-scheduler", package=f"{KUBE}/cmd/kube-scheduler", flags=told, minutes=1),
        Program(
            name="kube-controller-manager",
            package=f"{KUBE}/cmd/kube-controller-manager",
            flags=told,
            minutes=1,
        ),
        Program(name="etcd", package="go.etcd.io/etcd/server/v3", minutes=0.5),
        Program(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok", flags=kwok, minutes=0.5),
        Program(name="kserve-manager", package="./cmd/manager", kserve=True, minutes=4),
        Program(name="kserve-llmisvc", package="./cmd/llmisvc", kserve=True, minutes=1),
    )


def binary(name: str) -> Path:
    """The path of a program: from `$KUBEBUILDER_ASSETS` when it is there, else as built.

    Raises `NotBuilt` when there is none.
    """
    for folder in _folders():
        if (folder / name).is_file():
            return folder / name
    raise NotBuilt(
        f"the lab is not built: no `{name}`", hint="run `make lab-build` (once, about a quarter of an hour)"
    )


def is_built(names: tuple[str, ...] = ()) -> bool:
    """Whether all programs (or the named ones), the CRDs and KServe's manifests are there."""
    try:
        for name in names or tuple(program.name for program in programs()):
            binary(name)
    except NotBuilt:
        return False
    return crds_file().is_file() and kserve_folder().is_dir()


def build(say: Say) -> None:
    """Build what is missing and record the CRDs, saying on the way what is done and how long it took.

    Raises `LabError` when a build fails; what was built before it is kept.
    """
    missing = tuple(program for program in programs() if not _is_there(program.name))
    started = time.monotonic()
    go = toolchain()
    bin_folder().mkdir(parents=True, exist_ok=True)
    if missing:
        cold = sum(program.minutes for program in missing)
        say(f"{len(missing)} of {len(programs())} programs to build with {go}, into {bin_folder()}")
        say(f"about {cold:.0f} minutes on two cores if Go's cache is cold; interrupted, it resumes")
    for at, program in enumerate(missing, 1):
        _build_one(go, program, f"{program.name} ({at} of {len(missing)})", say)
    _record(go, say)
    say(f"the lab is built ({_spoken(time.monotonic() - started)}): `make lab` starts it")


def _folders() -> tuple[Path, ...]:
    named = os.environ.get("KUBEBUILDER_ASSETS")
    return (Path(named).absolute(), bin_folder()) if named else (bin_folder(),)


def _is_there(name: str) -> bool:
    return any((folder / name).is_file() for folder in _folders())


def _build_one(go: str, program: Program, title: str, say: Say) -> None:
    """Build one program into a name beside its own and move it there when it is whole."""
    started = time.monotonic()
    say(f"{title}: building")
    folder = modules.download(go, modules.KSERVE) if program.kserve else HOME
    half = bin_folder() / f".{program.name}"
    log = bin_folder() / f".{program.name}.log"
    flags = ["-trimpath", "-buildvcs=false", f"-ldflags=-s -w {program.flags}".strip()]
    argv = leashed([go, "build", *flags, "-o", str(half), program.package])
    with log.open("wb") as out:
        running = subprocess.Popen(argv, cwd=folder, stdout=out, stderr=out)
        try:
            _wait(running, title, started, say)
        finally:
            if running.poll() is None:
                running.terminate()
                running.wait()
    if running.returncode:
        raise LabError(f"building {program.name} failed:\n{log.read_text()[-2000:].strip()}")
    half.rename(bin_folder() / program.name)
    log.unlink()
    say(f"{title}: built in {_spoken(time.monotonic() - started)}")


def _wait(running: subprocess.Popen[bytes], title: str, started: float, say: Say) -> None:
    while True:
        try:
            running.wait(SAY_EVERY_S)
        except subprocess.TimeoutExpired:
            say(f"{title}: {_spoken(time.monotonic() - started)} so far")
        else:
            return


def _record(go: str, say: Say) -> None:
    """Keep the CRDs and KServe's manifests beside the programs, so that starting needs no Go."""
    if not crds_file().is_file():
        say("recording the CRDs of the pinned modules")
        found = crds.collect([(modules.download(go, module), module.crds) for module in modules.CRD_MODULES])
        half = crds_file().with_suffix(".half")
        half.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}))
        half.rename(crds_file())
    if not kserve_folder().is_dir():
        half = kserve_folder().with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(modules.download(go, modules.KSERVE) / "config", half, copy_function=shutil.copyfile)
        for folder in (half, *(path for path in half.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        half.rename(kserve_folder())


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
