"""Where the shop's mails go: an SMTP server that breaks like everything else, and what it has taken."""

from __future__ import annotations

import email
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email import policy
from hashlib import sha256
from pathlib import Path
from typing import Final

from scripts.lib.bench.processes import clean_environment
from scripts.lib.chaos.kept import Kept
from scripts.lib.chaos.parts import POST
from scripts.lib.chaos.records import Mail
from scripts.lib.chaos.smtpd import MAILS, RECIPIENT, TROUBLE
from weft.cli.probes import free_ports
from weft.cli.state import ProcessRecord

__all__ = ["Post", "running_post"]

READY_S: Final = 20.0


class Post:
    """The server, which comes back when it ends, and its folder.

    Attributes:
        env: what the mesh needs to know of it.
    """

    def __init__(self, kept: Kept, folder: Path, port: int) -> None:
        self._kept, self._folder = kept, folder
        self.env: Mapping[str, str] = {"NOTIFICATIONS_MAIL_URL": f"smtp://127.0.0.1:{port}"}

    def find(self) -> ProcessRecord | None:
        """Return its process, if it runs at this moment."""
        return self._kept.find()

    async def misbehave(self, faults: Mapping[str, float]) -> None:
        """Make trouble from now on."""
        draft = self._folder / f".{TROUBLE}"
        draft.write_text(json.dumps(dict(faults)))
        draft.rename(self._folder / TROUBLE)

    async def behave(self) -> None:
        """Make no trouble any more."""
        (self._folder / TROUBLE).unlink(missing_ok=True)

    def mails(self) -> tuple[Mail, ...]:
        """Return every mail that was taken, copies included."""
        files = (self._folder / MAILS).glob("[!.]*")
        return tuple(_read(file.read_bytes()) for file in sorted(files))


@contextmanager
def running_post(files: Path) -> Iterator[Post]:
    """Run the server with all it takes in *files*/post until the block is left. Raises ChaosFailed."""
    folder = files / "post"
    folder.mkdir()
    (port,) = free_ports(1)
    command = (sys.executable, "-P", "-m", "scripts.lib.chaos.smtpd", "--port", str(port), "--folder", str(folder))
    kept = Kept(POST, command, env=clean_environment(), port=port, log=folder / "log")
    try:
        kept.start(ready_s=READY_S)
        yield Post(kept, folder, port)
    finally:
        kept.stop()


def _read(content: bytes) -> Mail:
    mail = email.message_from_bytes(content, policy=policy.default)
    return Mail(
        message_id=str(mail["Message-ID"]),
        notification_id=str(mail["Message-ID"]).strip("<>").partition("@")[0],
        recipients=tuple(str(each) for each in mail.get_all(RECIPIENT, ())),
        to=str(mail["To"]),
        digest=sha256(content).hexdigest()[:16],
    )
