"""Those who deliver: a real SMTP server, and a receiver of webhooks. Both fail on cue."""

from __future__ import annotations

import asyncio
import email
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import policy
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from email.message import EmailMessage

    from aiosmtpd.smtp import Envelope, LoginPassword, Session

__all__ = ["MailServer", "Receiver", "receiving"]

OK = "250 OK"


@dataclass
class MailServer:
    """What it does is aiosmtpd's own; here is what it has taken, and what it says instead when told."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    to_recipients: dict[str, str] = field(default_factory=dict)
    """Address -> what is said to it."""
    to_mails: list[str] = field(default_factory=list)
    """What is said to the next mails instead of taking them."""
    passwords: dict[bytes, bytes] = field(default_factory=dict)
    was_encrypted: bool = False

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.taken if mail["To"] == address]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.to_recipients.get(address, OK)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.to_mails:
            return self.to_mails.pop(0)
        assert isinstance(envelope.content, bytes)
        self.was_encrypted = session.ssl is not None
        self.recipients += envelope.rcpt_tos
        self.taken.append(email.message_from_bytes(envelope.content, policy=policy.default))
        return OK

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: LoginPassword
    ) -> AuthResult:
        return AuthResult(success=self.passwords.get(login.login) == login.password, handled=False)

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[MailServer]:
        """Listen on the port it had before, or on any; with *tls*, offer STARTTLS and ask for a password."""
        loop = asyncio.get_running_loop()

        def smtp() -> SMTP:
            options: dict[str, Any] = {"loop": loop, "hostname": "localhost", "enable_SMTPUTF8": True}
            if tls:
                options |= {"tls_context": tls, "authenticator": self.authenticate, "auth_required": True}
            return SMTP(self, **options)

        listening = await loop.create_server(smtp, "127.0.0.1", self.port)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()
            await listening.wait_closed()


@dataclass
class Receiver:
    """Takes webhooks."""

    url: str = ""
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """Headers and body of each that came."""
    answers: list[int] = field(default_factory=list)
    """Statuses of the next answers, instead of 204."""
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody gets an answer before it is set."""

    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.posts]

    async def take(self, request: web.Request) -> web.Response:
        self.posts.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        await self.held.wait()
        return web.Response(status=self.answers.pop(0) if self.answers else 204, headers={"location": self.url})


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.held.set()
    app = web.Application()
    app.router.add_post("/messages", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/messages"
        yield receiver
    finally:
        receiver.held.set()
        await runner.cleanup()
