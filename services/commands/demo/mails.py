"""The mails that a mesh on this machine has written, which are files."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from services.commands.demo.client import Answer

__all__ = ["read_mail"]


def read_mail(folder: Path, notification_id: str) -> Answer | None:
    """Return who was written to and what about, or None where the maildir *folder* has no such mail.

    A mail's file is named for its notification; mail readers move it from `new` to `cur` and append to its name.
    """
    path = next(folder.glob(f"new/*.{notification_id}.weft"), None)
    path = path or next(folder.glob(f"cur/*.{notification_id}.weft*"), None)
    if path is None:
        return None
    mail = message_from_bytes(path.read_bytes(), policy=default)
    return {
        "notificationId": notification_id,
        "to": str(mail["to"]),
        "subject": str(mail["subject"]),
        "language": str(mail["content-language"] or ""),
        "file": str(path),
    }
