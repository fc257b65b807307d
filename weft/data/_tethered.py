"""Run a program that dies with its parent, as an unprivileged user when root.

A script, started by its path in an interpreter of its own: between fork and exec of a process with threads nothing but
async-signal-safe code may run, and both the death signal (cleared by a change of user) and the user namespace must be
set by the child itself.

    python -I -S _tethered.py PARENT_PID UID GID PROGRAM [ARGUMENT…]

UID `keep` stays as it is; UID `map:N` enters a user namespace in which the caller is seen as N and so holds no
privilege there.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWUSER = 0x10000000  # linux/sched.h


def become(uid: str, gid: int) -> None:
    if uid == "keep":
        return
    if not uid.startswith("map:"):
        os.setgroups([])
        os.setgid(gid)
        os.setuid(int(uid))
        return
    outer_uid, outer_gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "no user namespaces here; put the files where the user nobody may enter")
    for name, mapping in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid.removeprefix('map:')} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123  # pathlib costs 10 ms of start
            file.write(mapping)


def main(parent_pid: str, uid: str, gid: str, program: str, *arguments: str) -> None:
    become(uid, int(gid))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != int(parent_pid):  # it died before the signal was armed
            sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606  # the caller is weft, and no shell is wanted


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[4]}: {error}")
