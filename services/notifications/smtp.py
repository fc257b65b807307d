"""Mails by SMTP.

At least once, with the same Message-ID: where the process is killed, or the connection breaks, between the server's
taking a mail and the noting of that, it is sent again. Servers and readers that look at the Message-ID show it once.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from services.notifications.mail import ADDRESS_INVALID, Sender, compose
from services.notifications.transport import Deferred, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from email.message import EmailMessage

    import aiosmtplib

    from services.notifications.transport import Message

__all__ = ["Smtp"]

ANSWER_S: Final = 20.0
"""Longest wait for one answer of the server."""
QUIT_S: Final = 1.0
SERVER_UNAVAILABLE: Final = "SERVER_UNAVAILABLE"
PERMANENT: Final = 500
"""Least reply code that says not to try again. Source: RFC 5321 section 4.2.1"""


class Smtp:
    """A `Transport`; a connection for each mail.

    Args:
        url: `smtp://user:password@host:port`, or `smtps://…` where TLS comes first. Over `smtp://`, TLS is used where
            the server offers it, and demanded where there is a password to protect.
        sender: From whom mails come.
        ca_file: PEM of the authorities to trust, where they aren't the system's.
    """

    def __init__(self, url: str, sender: Sender, *, ca_file: Path | None = None) -> None:
        import aiosmtplib  # noqa: PLC0415  # a shop with a maildir does without

        parts = urlsplit(url)
        is_tls = parts.scheme == "smtps"
        if not parts.hostname:
            raise ValueError("NOTIFICATIONS_MAIL_URL names no host")
        self._library = aiosmtplib
        self._sender = sender
        self._local_hostname: str | None = None
        """What this machine is called, which takes a while to find out: asked once."""
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        context = ssl.create_default_context(cafile=ca_file)
        host, port = parts.hostname, parts.port or (465 if is_tls else 587)
        self._client: Callable[[], aiosmtplib.SMTP] = lambda: aiosmtplib.SMTP(
            hostname=host,
            port=port,
            username=user or None,
            password=password or None,
            use_tls=is_tls,
            start_tls=None if is_tls or not user else True,
            tls_context=context,
            timeout=ANSWER_S,
            local_hostname=self._local_hostname,
        )

    async def send(self, message: Message) -> None:
        mail = compose(message, self._sender)
        client = self._client()
        try:
            await self._understood(client.connect(), refusals_are_final=False)
            self._local_hostname = client.local_hostname
            await self._understood(self._deliver(client, mail), refusals_are_final=True)
            # The server has it. Whatever happens to our good-bye changes nothing of that.
            with suppress(self._library.SMTPException, OSError, TimeoutError):
                async with asyncio.timeout(QUIT_S):
                    await client.quit()
        finally:
            client.close()

    async def _deliver(self, client: aiosmtplib.SMTP, mail: EmailMessage) -> None:
        (recipient,) = mail["To"].addresses
        await client.send_message(mail, sender=self._sender.address.addr_spec, recipients=[recipient.addr_spec])

    async def _understood(self, step: Awaitable[object], *, refusals_are_final: bool) -> None:
        """Do one step. What the server says to a greeting or a password is about us, and may change: it is not final.

        Raises:
            Refused, Deferred: it was not done. No text of the server's is passed on, for what it may quote.
        """
        smtp = self._library
        try:
            await step
        except smtp.SMTPAuthenticationError:
            raise Deferred("AUTHENTICATION_FAILED") from None
        except smtp.SMTPRecipientsRefused as error:
            self._judge(error.recipients[0].code, "RECIPIENT_REFUSED", final=refusals_are_final)
        except smtp.SMTPNotSupported:  # a mailbox name beyond ASCII, and a server that knows of none
            if refusals_are_final:
                raise Refused(ADDRESS_INVALID) from None
            raise Deferred(SERVER_UNAVAILABLE) from None
        except smtp.SMTPResponseException as error:
            self._judge(error.code, "MESSAGE_REFUSED", final=refusals_are_final)
        except (smtp.SMTPException, OSError, TimeoutError):
            raise Deferred(SERVER_UNAVAILABLE) from None

    def _judge(self, code: int, reason: str, *, final: bool) -> None:
        """Raises Refused, Deferred."""
        if final and code >= PERMANENT:
            raise Refused(reason) from None
        raise Deferred("SERVER_BUSY") from None
