"""Mails as RFC 5322 writes them: the same bytes each time the same notification is written in the same words."""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr
from typing import TYPE_CHECKING, Final

from services.notifications.transport import Refused

if TYPE_CHECKING:
    from services.notifications.transport import Message

__all__ = ["ADDRESS_INVALID", "Sender", "compose"]

ADDRESS_INVALID: Final = "ADDRESS_INVALID"
# What needs no quotes, RFC 5322 section 3.2.3 and RFC 6531 section 3.3: nothing in it ends an address or a header.
_USERNAME: Final = re.compile(r"""[^\s\x00-\x1f\x7f"(),:;<>@\[\\\]]+""")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9.-]+")


class Sender:
    """From whom mails come.

    Args:
        text: `Weft Shop <shop@example.com>`, or an address alone.

    Raises:
        ValueError: *text* is neither.
    """

    def __init__(self, text: str) -> None:
        name, address = parseaddr(text)
        if not address or "@" not in address:
            raise ValueError("not an e-mail address")
        try:
            self.address = Address(name, addr_spec=address)
        except (HeaderParseError, ValueError, IndexError) as error:
            raise ValueError("not an e-mail address") from error

    @property
    def name(self) -> str:
        """What people know the sender by."""
        return self.address.display_name or self.address.domain


def compose(message: Message, sender: Sender) -> EmailMessage:
    """Return the mail that *message* is. Raises Refused where its address is none."""
    notification, rendered = message.notification, message.rendered
    recipient = _recipient(message.address)
    mail = EmailMessage(policy=SMTP if recipient.username.isascii() else SMTPUTF8)
    mail["From"] = sender.address
    mail["To"] = recipient
    mail["Subject"] = rendered.subject
    mail["Date"] = format_datetime(notification.create_time)
    # By this, servers and readers recognise a repeat. Source: RFC 5322 section 3.6.4
    mail["Message-ID"] = f"<{notification.notification_id}@{sender.address.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # no answer of an absent recipient's, RFC 3834 section 5
    mail.set_content(rendered.text, cte="quoted-printable")
    mail.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    mail["Content-Language"] = rendered.language
    mail.set_boundary(f"=_{notification.notification_id.hex}")
    return mail


def _recipient(address: str) -> Address:
    """Return *address* with its domain as mail knows it. Raises Refused.

    Not read by the library: it takes names and comments with an address, and no letters beyond ASCII.
    """
    username, _, domain = address.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
    except ValueError:
        raise Refused(ADDRESS_INVALID) from None
    if not _USERNAME.fullmatch(username) or not _DOMAIN.fullmatch(ascii_domain):
        raise Refused(ADDRESS_INVALID)
    return Address(username=username, domain=ascii_domain)
