"""Migrations of a process's services, in a child of it before it serves: Alembic takes 10 MB that only they need."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import random
from typing import Final

from weft.data.migrate import MigrationFailed, migrate
from weft.errors import Unavailable

__all__ = ["migrate_in_child"]

PATIENCE_S: Final = 60.0
"""How long a database may be away: there is no order in which processes must start."""
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_log = logging.getLogger(__name__)


def migrate_in_child(schemas: Mapping[str, tuple[str, Path]]) -> bool:
    """Bring every database to what the code expects; return whether all are, the log says why not.

    Forks, so it must be called while the process has no threads. The child dies with its parent.

    Args:
        schemas: service -> URL of its database, folder of its revisions.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            status = 0 if all(_migrate(service, *schema) for service, schema in schemas.items()) else 1
        except Exception:  # noqa: BLE001  # a defect, whose traceback is the message; the child must end here
            _log.critical("cannot start", exc_info=True)
        finally:
            logging.shutdown()
            os._exit(status)  # not sys.exit: what the parent registered to run at its exit is the parent's
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _migrate(service: str, url: str, folder: Path) -> bool:
    give_up, wait_s = time.monotonic() + PATIENCE_S, 0.1
    while True:
        try:
            migrate(url, folder)
        except (Unavailable, MigrationFailed) as error:
            if isinstance(error, MigrationFailed) or time.monotonic() > give_up:
                _log.critical("cannot start: %s", error, extra={"service": service})
                return False
        else:
            return True
        _log.info("waiting for the database", extra={"service": service})
        time.sleep(wait_s * (0.5 + random()))  # noqa: S311 (jitter is no secret)
        wait_s = min(2.0, wait_s * 2)
