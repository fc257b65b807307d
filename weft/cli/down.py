"""`weft down`: stop a mesh, and make sure that nothing of it is left."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.cli.state import ProcessRecord, State
    from weft.cli.terminal import Terminal

__all__ = ["down"]

SUPERVISOR_STOP_S: Final = 90.0
"""More than all stages take together."""
LEFTOVER_STOP_S: Final = 10.0
POLL_S: Final = 0.02


def down(state: State, terminal: Terminal) -> int:
    """Stop the mesh of *state* and wait until it is gone; with none running, clear away what a killed one left."""
    record = state.read()
    if record is None:
        terminal.line(f"no mesh runs from {state.path}")
        return 0
    supervised = _end([record.supervisor], SUPERVISOR_STOP_S)
    # Usually there are none: the supervisor stops its own. A killed one could not, and only Linux does it then.
    left = _end((state.read() or record).processes, LEFTOVER_STOP_S)
    state.forget()
    terminal.line("stopped" if supervised or left else "nothing was running any more")
    return 0


def _end(records: Sequence[ProcessRecord], patience_s: float) -> bool:
    """End the processes that still are who *records* say; tell whether there were any."""
    found = [record for record in records if record.signal(record.stop_signal)]
    for record in _still_there(found, patience_s):
        record.signal(signal.SIGKILL)
    _still_there(found, LEFTOVER_STOP_S)
    return bool(found)


def _still_there(records: Sequence[ProcessRecord], patience_s: float) -> Sequence[ProcessRecord]:
    """Wait until all of *records* ended, for at most *patience_s*; return those that did not.

    A zombie has ended: in a container nobody may be there to collect it.
    """
    deadline = time.monotonic() + patience_s
    while (records := [each for each in records if each.find()]) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return records
