"""`python -m weft.control`: run one control plane until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import uvloop

from weft.config import ConfigError
from weft.control.app import control_plane
from weft.control.inputs import InputsError
from weft.control.settings import Settings, read_settings
from weft.telemetry import configure_logging

_log = logging.getLogger("weft.control")


def main() -> None:
    try:
        settings = read_settings(sys.argv[1:], os.environ)
        configure_logging(settings.log_level, settings.log_format)
        uvloop.run(_run(settings))
    except (ConfigError, InputsError, OSError) as error:
        # These say what the operator must change; anything else is a defect, and its traceback the message.
        _log.critical("cannot start: %s", error)
        sys.exit(1)


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with control_plane(settings):
        await stop.wait()


if __name__ == "__main__":
    main()
