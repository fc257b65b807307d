"""Leave a process behind, and wait until it says that it works."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from weft.cli.processes import rotate_log, tail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from weft.cli.terminal import Terminal

__all__ = ["detached"]

VERDICT: Final = b"\x00"
"""Precedes the exit code, the last byte of what the background process reports."""
LAST_WORDS: Final = 20


def detached(terminal: Terminal, log: Path, run: Callable[[Callable[[int], None]], int]) -> int:
    """Run *run* in a background process; return the exit code it reports, here.

    What it prints through *terminal* appears here until it calls its argument with an exit code, or ends; then, and for
    all else it prints, *log* is the place. Ctrl-C here asks it to stop. Must be called before any thread is started.
    """
    rotate_log(log)
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _live_in_background(terminal, log, writer, run)
    os.close(writer)
    return _relay(terminal, log, reader, pid)


def _live_in_background(
    terminal: Terminal, log: Path, writer: int, run: Callable[[Callable[[int], None]], int]
) -> None:
    """Never returns: the caller's stack, `finally` clauses included, is the foreground process's to unwind."""
    code = 1
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:

        def report(code: int) -> None:
            terminal.redirect(sys.stdout)
            with suppress(BrokenPipeError):
                pipe.buffer.write(VERDICT + bytes([code]))
                pipe.close()

        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDONLY)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for source, target in ((nothing, 0), (output, 1), (output, 2)):
                os.dup2(source, target)
            terminal.redirect(pipe)
            code = run(report)
        except BaseException:  # noqa: BLE001  # this is the end of the process
            traceback.print_exc()
        finally:
            if not pipe.closed:
                report(code)
            sys.stdout.flush()
            os._exit(code)


def _relay(terminal: Terminal, log: Path, reader: int, pid: int) -> int:
    received = b""
    previous = signal.signal(signal.SIGINT, lambda *_: os.kill(pid, signal.SIGTERM))
    try:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while VERDICT not in received:
                chunk = pipe.read(4096)
                if not chunk:
                    break
                received += chunk
                shown, verdict, rest = received.partition(VERDICT)
                terminal.raw(shown.decode(errors="ignore"))
                received = verdict + rest
            received += pipe.read()
    finally:
        signal.signal(signal.SIGINT, previous)
    code = received[-1] if received.startswith(VERDICT) else None
    if code is None:
        terminal.fail("the mesh ended while it was starting", tail(log, LAST_WORDS))
    if code != 0:
        os.waitpid(pid, 0)
    return 1 if code is None else code
