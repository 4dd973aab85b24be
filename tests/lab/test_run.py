"""`make lab` from outside: what it prints, and that nothing outlives it, however it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tillerman_lab.build import is_built
from tillerman_lab.fixtures import first_port
from tillerman_lab.waiting import wait_for

RUN = Path(__file__).resolve().parents[2] / "deploy" / "lab" / "run.py"
PORT = first_port() + 100
REQUIRED = os.environ.get("TILLERMAN_LAB") == "required"
PROGRAMS = {
    "etcd",
    "kube-apiserver",
    "kube-scheduler",
    "kube-controller",
    "kserve-manager",
    "kserve-llmisvc",
    "kwok",
}

pytestmark = [
    pytest.mark.skipif(not (is_built() or REQUIRED), reason="the lab is not built"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and the kernel's promise is Linux's"),
]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, running, and the line it printed on its standard output."""
    argv = [sys.executable, str(RUN), "--ports", str(PORT), *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as command:
        try:
            assert command.stdout is not None
            yield command, command.stdout.readline()
        finally:
            command.kill()


def children_of(pid: int) -> dict[int, str]:
    """Names of processes by their ids: those that the process started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            match = re.match(r"(\d+) \((.*)\) (\S) (\d+)", path.read_text())
        except OSError:
            continue
        if match and int(match[4]) == pid and match[3] != "Z":
            found[int(match[1])] = match[2]
    return found


def gone(children: dict[int, str]) -> bool:
    """Whether none of the processes is there any more, under its name."""
    for pid, name in children.items():
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if f"({name}) Z" not in status and f"({name})" in status:
            return False
    return True


def test_interrupted_lab_stops_cleanly() -> None:
    with running("--empty") as (command, line):
        found = re.fullmatch(r"export KUBECONFIG=(\S+)\n", line)
        assert found
        folder = Path(found[1]).parent
        children = children_of(command.pid)
        assert {name for name in children.values() if name in PROGRAMS or "kube-controller" in name} != set()
        assert len(children) == len(PROGRAMS) + 1, "the programs and the egress proxy"
        command.send_signal(signal.SIGINT)
        assert command.wait(30) == 0
    assert gone(children)
    assert not folder.exists()


def test_killed_lab_leaves_no_process() -> None:
    with running("--empty") as (command, _):
        children = children_of(command.pid)
        assert len(children) == len(PROGRAMS) + 1
        os.kill(command.pid, signal.SIGKILL)
        command.wait(30)
        wait_for("the lab's programs ending", lambda: gone(children), 5)


def test_busy_port_is_said() -> None:
    with running("--empty"):
        second = [sys.executable, str(RUN), "--ports", str(PORT), "--empty"]
        answer = subprocess.run(second, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert f"error: port {PORT} is in use\nhint: name another `--ports BASE`\n" in answer.stderr


def test_missing_lab_is_said(tmp_path: Path) -> None:
    nothing = {**os.environ, "TILLERMAN_LAB_CACHE": str(tmp_path), "KUBEBUILDER_ASSETS": ""}
    argv = [sys.executable, str(RUN), "--ports", str(PORT)]
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=nothing)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "error: the lab is not built" in answer.stderr
