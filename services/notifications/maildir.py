"""Mails into a folder that any mail reader opens, for a shop on one machine.

Exactly once: the name of a mail's file follows from its notification, and is taken by a link, which is refused where it
exists. So whoever sends it again, after one who was killed before noting that it was sent, finds it there, in `new` or
wherever a mail reader has put it below `cur`. Only a mail that was deleted in between would be written again.

Source: https://cr.yp.to/proto/maildir.html
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from services.notifications.mail import Sender, compose
from services.notifications.transport import Deferred

if TYPE_CHECKING:
    from services.notifications.transport import Message

__all__ = ["Maildir"]


class Maildir:
    """A `Transport`. Makes *folder*, for its owner's eyes only, if it isn't there."""

    def __init__(self, folder: Path, sender: Sender) -> None:
        self._sender = sender
        self._tmp, self._new, self._cur = (folder / name for name in ("tmp", "new", "cur"))
        folder.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder, self._tmp, self._new, self._cur):
            each.mkdir(mode=0o700, exist_ok=True)

    async def send(self, message: Message) -> None:
        notification = message.notification
        name = f"{int(notification.create_time.timestamp())}.{notification.notification_id}.weft"
        composed = compose(message, self._sender)
        mail = composed.as_bytes(policy=composed.policy.clone(linesep="\n"))  # as files on this system are
        try:
            await asyncio.to_thread(self._write, name, mail)
        except OSError:
            raise Deferred("MAILDIR_UNAVAILABLE") from None

    def _write(self, name: str, mail: bytes) -> None:
        if self._is_there(name):
            return
        draft = self._tmp / f"{name}.{uuid4().hex}"
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(mail)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, self._new / name)
            except FileExistsError:
                return
            _sync(self._new)
        finally:
            draft.unlink(missing_ok=True)

    def _is_there(self, name: str) -> bool:
        """Tell whether the mail was delivered. In this order: mails move from `new` to `cur`, and not back."""
        return (self._new / name).exists() or any(self._cur.glob(f"{name}*"))


def _sync(folder: Path) -> None:
    """Have the folder's entries survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
