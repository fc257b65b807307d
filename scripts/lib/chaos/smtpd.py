"""An SMTP server of the run's own: `python -m scripts.lib.chaos.smtpd --port N --folder DIR`.

What it has said yes to is on the disk, so that it may be killed at any moment. It makes trouble as the file `trouble`
in its folder says, in JSON; a file, so that the run can tell it without speaking to it, which may be paused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session

__all__ = ["MAILS", "RECIPIENT", "TROUBLE", "main"]

MAILS: Final = "mails"
"""The folder's folder of mails; drafts begin with a dot."""
TROUBLE: Final = "trouble"
RECIPIENT: Final = "Delivered-To"
"""The header that is put before a mail, and says to whom it was handed over. Source: RFC 9228"""
TAKEN: Final = "250 OK"
BUSY: Final = "451 Try again later"


class Server:
    """Takes every mail, and writes it into *folder*."""

    def __init__(self, folder: Path) -> None:
        self._mails, self._trouble = folder / MAILS, folder / TROUBLE
        self._mails.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        trouble = self._told()
        await asyncio.sleep(trouble.get("delay_s", 0.0))
        if random() < trouble.get("refuse_ratio", 0.0):  # noqa: S311  # to vary, not to be secret
            return BUSY
        assert isinstance(envelope.content, bytes), "decode_data is off"
        head = "".join(f"{RECIPIENT}: {address}\r\n" for address in envelope.rcpt_tos)
        self._write(head.encode() + envelope.content)
        if random() < trouble.get("lose_ratio", 0.0):  # noqa: S311  # as above
            assert isinstance(server.transport, asyncio.Transport), "it has just sent something"
            server.transport.abort()
        return TAKEN

    def _told(self) -> Mapping[str, float]:
        try:
            told: Mapping[str, float] = json.loads(self._trouble.read_text())
        except FileNotFoundError:
            return {}
        return told

    def _write(self, mail: bytes) -> None:
        name = uuid4().hex
        draft = self._mails / f".{name}"
        with draft.open("wb") as file:
            file.write(mail)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._mails / name)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(_serve(options.port, Server(options.folder)))


async def _serve(port: int, handler: Server) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = await loop.create_server(
        lambda: SMTP(handler, loop=loop, hostname="localhost", enable_SMTPUTF8=True), "127.0.0.1", port
    )
    await stop.wait()
    listening.close()


if __name__ == "__main__":
    main()
