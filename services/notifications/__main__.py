"""Puts notifications together."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from shop.notifications.v1 import notifications_pb2

from services.notifications.domain import Channel
from services.notifications.mail import Sender
from services.notifications.maildir import Maildir
from services.notifications.office import Office
from services.notifications.peers import Contacts
from services.notifications.rendering import Renderer
from services.notifications.servicer import NotificationsServicer
from services.notifications.smtp import Smtp
from services.notifications.webhook import Webhook
from weft.config import ConfigError, load
from weft.data import Database
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.notifications.transport import Transport

__all__ = ["Config", "service"]

MAIL_SCHEMES: Final = ("smtp", "smtps", "maildir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`NOTIFICATIONS_<FIELD>` in the environment."""

    mail_url: str = field(repr=False)
    """Where mails go: `smtp://user:password@host:port`, `smtps://…`, or `maildir:///path`."""
    mail_from: str = "Weft Shop <shop@example.com>"
    """Who writes: a name, which is the shop's, and an address."""
    mail_ca_file: Path | None = None
    """PEM of the authorities that the SMTP server's certificate may be from, where they aren't the system's."""
    sms_url: str | None = field(default=None, repr=False)
    """Where SMS are posted to; without it, whoever prefers them gets mails."""
    push_url: str | None = field(default=None, repr=False)
    """Where push messages are posted to; without it, whoever prefers them gets mails."""
    webhook_secret_file: Path | None = None
    """Holds the secret that these two know the posts by."""

    def __post_init__(self) -> None:
        problems = []
        mail = urlsplit(self.mail_url)
        if mail.scheme not in MAIL_SCHEMES or not (mail.path if mail.scheme == "maildir" else mail.hostname):
            problems.append("NOTIFICATIONS_MAIL_URL is not smtp://host:port, smtps://host:port or maildir:///path")
        try:
            Sender(self.mail_from)
        except ValueError:
            problems.append("NOTIFICATIONS_MAIL_FROM is not an e-mail address, with or without a name")
        for name, url in (("SMS", self.sms_url), ("PUSH", self.push_url)):
            if url and urlsplit(url).scheme not in ("http", "https"):
                problems.append(f"NOTIFICATIONS_{name}_URL is not http://… or https://…")
        if (self.sms_url or self.push_url) and not self.webhook_secret_file:
            problems.append("NOTIFICATIONS_WEBHOOK_SECRET_FILE is not set")
        if problems:
            raise ValueError("\n".join(problems))


@asynccontextmanager
async def open_transports(config: Config) -> AsyncIterator[dict[Channel, Transport]]:
    """Yield where each channel of this shop leads. Raises ConfigError."""
    sender, mail = Sender(config.mail_from), urlsplit(config.mail_url)
    async with AsyncExitStack() as stack:
        transports: dict[Channel, Transport] = {
            Channel.EMAIL: Maildir(Path(unquote(mail.path)), sender)
            if mail.scheme == "maildir"
            else Smtp(config.mail_url, sender, ca_file=config.mail_ca_file)
        }
        for channel, url in ((Channel.SMS, config.sms_url), (Channel.PUSH, config.push_url)):
            if url:
                transports[channel] = await stack.enter_async_context(Webhook.open(url, _secret(config)))
        yield transports


def _secret(config: Config) -> bytes:
    """Raises ConfigError."""
    assert config.webhook_secret_file, "checked with the others"
    try:
        secret = config.webhook_secret_file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(["NOTIFICATIONS_WEBHOOK_SECRET_FILE can't be read"]) from error
    if not secret:
        raise ConfigError(["NOTIFICATIONS_WEBHOOK_SECRET_FILE is empty"])
    return secret


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    config = load(Config, runtime.env, "NOTIFICATIONS")
    async with (
        Database.open(runtime.database_url, application_name=runtime.name) as database,
        open_transports(config) as transports,
    ):
        office = Office(database, Contacts(runtime.peers), Renderer(Sender(config.mail_from).name), transports)
        name = notifications_pb2.DESCRIPTOR.services_by_name["NotificationsService"].full_name
        yield Parts(
            servicers={name: NotificationsServicer(database)},
            database=database,
            handlers=office.handlers,
            background=office.loops,
        )


service = Service(name="notifications", build=build, migrations=Path(__file__).with_name("migrations"))

if __name__ == "__main__":
    run(service)
