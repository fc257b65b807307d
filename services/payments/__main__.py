"""Puts payments together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shop.payments.v1 import payments_pb2

from services.chores import chore
from services.payments.cashier import Cashier
from services.payments.forgetting import handlers
from services.payments.printing import Printer
from services.payments.servicer import PaymentsServicer
from services.payments.simulated import SimulatedProvider
from services.payments.stripe import StripeProvider, StripeWebhooks
from weft.config import ConfigError, load
from weft.data import Database
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from services.payments.provider import Provider

__all__ = ["Config", "service"]

BATCH: Final = 20
POLL_S: Final = 0.5
ONE_PROVIDER = (
    "set either PAYMENTS_PROVIDER_URL, or PAYMENTS_STRIPE_KEY_FILE and PAYMENTS_STRIPE_WEBHOOK_SECRET_FILE"
    " (with PAYMENTS_STRIPE_URL if Stripe is not where it is)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`PAYMENTS_<FIELD>` in the environment: one provider."""

    provider_url: str | None = None
    """Of the simulated provider, `http://host:port`."""
    stripe_key_file: Path | None = None
    """Holds the secret key of the account at Stripe."""
    stripe_webhook_secret_file: Path | None = None
    """Holds the secret that its webhooks are signed with."""
    stripe_url: str | None = None
    """Of Stripe, where it is a stand-in."""
    seller: str = "Weft Shop"
    """Who sells, as invoices say it: a name, then address and whatever else the law wants to see, each after a `;`."""

    def __post_init__(self) -> None:
        stripe = [self.stripe_key_file is not None, self.stripe_webhook_secret_file is not None]
        if (any(stripe) or self.stripe_url) if self.provider_url else not all(stripe):
            raise ValueError(ONE_PROVIDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeSecrets:
    """What only Stripe and this service know."""

    key: str = field(repr=False)
    webhook_secret: str = field(repr=False)

    @classmethod
    def read(cls, config: Config, env: Mapping[str, str]) -> StripeSecrets | None:
        """Return the secrets of a shop that is paid through Stripe. Raises ConfigError."""
        if not config.stripe_key_file or not config.stripe_webhook_secret_file:
            return None
        problems = ["STRIPE_LOG has whole requests written to the log, cards included: unset it"]
        problems = problems if env.get("STRIPE_LOG") else []
        texts: list[str] = []
        for name, path in (
            ("PAYMENTS_STRIPE_KEY_FILE", config.stripe_key_file),
            ("PAYMENTS_STRIPE_WEBHOOK_SECRET_FILE", config.stripe_webhook_secret_file),
        ):
            try:
                texts.append(path.read_text().strip())
            except (OSError, UnicodeError):
                problems.append(f"{name} can't be read")
            else:
                problems += [] if texts[-1] else [f"{name} is empty"]
        if problems:
            raise ConfigError(problems)
        return cls(key=texts[0], webhook_secret=texts[1])


@asynccontextmanager
async def open_provider(config: Config, secrets: StripeSecrets | None) -> AsyncIterator[Provider]:
    if secrets:
        async with StripeProvider.open(secrets.key, url=config.stripe_url) as stripe:
            yield stripe
    else:
        assert config.provider_url
        async with SimulatedProvider.open(config.provider_url) as simulated:
            yield simulated


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    config = load(Config, runtime.env, "PAYMENTS")
    secrets = StripeSecrets.read(config, runtime.env)
    async with (
        Database.open(runtime.database_url, application_name=runtime.name) as database,
        open_provider(config, secrets) as provider,
    ):
        seller = [line.strip() for line in config.seller.split(";")]
        cashier = Cashier(database, provider, runtime.outbox, seller=seller)
        webhooks = StripeWebhooks(secrets.webhook_secret) if secrets else None
        name = payments_pb2.DESCRIPTOR.services_by_name["PaymentsService"].full_name
        settling = partial(chore, cashier.settle_due, name="settle payments", batch=BATCH, poll_s=POLL_S)
        with Printer() as printer:
            servicer = PaymentsServicer(database, cashier, printer, webhooks=webhooks)
            try:
                yield Parts(servicers={name: servicer}, database=database, handlers=handlers(), background=[settling])
            finally:
                await cashier.finish()


service = Service(name="payments", build=build, migrations=Path(__file__).with_name("migrations"))

if __name__ == "__main__":
    run(service)
