"""Run a program that dies when its parent does: `python leash.py PARENT_PID PROGRAM ARGUMENTS...`.

A lab must not outlive the test run or the terminal that started it, however those end. The kernel of Linux
can promise that, but only a process can ask it for itself, before it becomes the program. It is not asked
in `subprocess`'s `preexec_fn`, which is unsafe beside threads. Elsewhere the lab relies on being stopped.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(argv: list[str]) -> None:
    """Tie this process to its parent, then become the program."""
    parent, program = int(argv[1]), argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv)
