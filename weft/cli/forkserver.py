"""The process that services are forked from: `python -m weft.cli.forkserver`.

It has imported what every service needs, so that a service starts without the second that this takes and shares the
35 MB that it is. Orders come on standard input, one JSON object a line: `arguments` of `weft`, `env`, `cwd`, `log`. To
each it answers on standard output with `{"pid": …}`, and tells the end of each child with `{"pid": …, "code": …}`.

It imports and does nothing else: a process may only be forked while it has no threads, and gRPC is not at work in it.
Linux only, as its children die with it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["main"]

PRELOADED: Final = (
    "alembic.command",  # to migrate, in a child of the child
    "nats",
    "psycopg2",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "weft.cli.run",
    "weft.events.brokers.nats",
    "weft.saga",
    "weft.server",
)
_WAITING: Final = "WEFT_FORKSERVER_ORDERS"
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_NAME: Final = 15
_CHUNK: Final = 1 << 16


def main() -> int:
    """Serve until standard input ends; in a child, be what was ordered."""
    children, orders = [int(pid) for pid in sys.argv[1:]], os.environ.pop(_WAITING, "").encode()
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, every page
    parent, order = os.getpid(), _serve(children, orders)
    if order is None:
        return 0
    _become(order, parent)
    from weft.cli.__main__ import main as weft  # noqa: PLC0415  # its terminal is the child's

    return weft(order["arguments"])


def _serve(children: Sequence[int], orders: bytes) -> Mapping[str, Any] | None:
    """Fork for each order, beginning with the bytes of *orders*; return the order in a child, None at the end."""
    born = _modified()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        for pid in children:
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
        while True:
            while b"\n" in orders:
                if _modified() != born:
                    _begin_anew(selector, orders)
                line, orders = orders.split(b"\n", 1)
                if (pid := os.fork()) == 0:
                    for descriptor, _ in _children(selector):
                        os.close(descriptor)
                    return dict(json.loads(line))
                os.setpgid(pid, pid)  # the child does so too: neither knows who is first
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                _report({"pid": pid})
            for key, _ in selector.select():
                if key.data is not None:
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    _report({"pid": key.data, "code": os.waitstatus_to_exitcode(os.waitpid(key.data, 0)[1])})
                elif chunk := os.read(key.fd, _CHUNK):
                    orders += chunk
                else:
                    return None


def _children(selector: selectors.BaseSelector) -> list[tuple[int, int]]:
    """Return (descriptor, process id) of each."""
    return [(key.fd, key.data) for key in selector.get_map().values() if key.data is not None]


def _report(fact: Mapping[str, int]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(fact).encode() + b"\n")


def _begin_anew(selector: selectors.BaseSelector, orders: bytes) -> None:
    """Become a new interpreter, with the children there are: what was imported has been edited meanwhile."""
    children = [str(pid) for _, pid in _children(selector)]
    command = (sys.executable, "-P", "-m", "weft.cli.forkserver", *children)
    # Not on the command line, which everybody may read: an environment may hold a password.
    os.execve(sys.executable, command, {**os.environ, _WAITING: orders.decode()})  # noqa: S606  # no shell is wanted


def _modified() -> dict[str, float]:
    """Return when each file was last modified of which this process has the code, those of the packages apart."""
    files = (getattr(module, "__file__", None) or "" for module in list(sys.modules.values()))
    ours = [file for file in files if file and not file.startswith((sys.prefix, sys.base_prefix))]
    return {file: os.stat(file).st_mtime for file in ours if os.path.exists(file)}  # noqa: PTH110, PTH116  # on each order


def _become(order: Mapping[str, Any], parent: int) -> None:
    """Make this process look as if it had been started, and not forked."""
    os.setpgid(0, 0)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, f"weft {order['arguments'][-1]}".encode())  # for `top`; the system keeps 15 characters
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the signal was armed
        os._exit(1)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for descriptor in (log, nothing):
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
