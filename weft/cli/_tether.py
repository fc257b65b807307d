"""Run a program that is killed when its parent dies. Linux only; elsewhere `weft down` finds what is left.

A script, started by its path in an interpreter of its own: in a process with threads, no code of ours may run between
fork and exec.

    python -I -S _tether.py PARENT_PID PROGRAM [ARGUMENT…]
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent_pid: str, program: str, *arguments: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent_pid):  # it died before the signal was armed
        sys.exit(1)
    try:
        os.execvp(program, [program, *arguments])  # noqa: S606  # the caller is weft, and no shell is wanted
    except OSError as error:
        sys.exit(f"{program}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
