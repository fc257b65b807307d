"""Stripe, through its official library.

Stripe names a payment itself, so it is asked for the name first (a PaymentIntent that isn't confirmed moves no money),
the name is committed here, and only then is the intent confirmed. What became of it can be asked by that name for ever
after, and the answer is Stripe's own record. Searching by metadata would not do: the index lags behind by a minute and
more, so that a payment it doesn't find may well exist. See https://docs.stripe.com/search#data-freshness.

The library is imported only where Stripe is in use, for the memory it takes.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

import aiohttp

from services.payments.domain import Found, Standing
from services.payments.provider import Declined, ProviderUnavailable, ProviderUncertain
from services.payments.refusals import SignatureInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import stripe

    from services.payments.domain import Refund
    from services.payments.money import Money
    from services.payments.provider import Card

__all__ = ["StripeProvider", "StripeWebhooks"]

REQUEST_S: Final = 30.0
"""Longer than anybody waits: who calls bounds the time."""
COUNTED_DIFFERENTLY: Final = {"ISK", "MGA", "UGX"}
"""Currencies whose smallest unit is another one at Stripe than in ISO 4217. https://docs.stripe.com/currencies#special-cases"""

_STANDINGS: Final = {
    "requires_payment_method": Standing.OPEN,
    "requires_confirmation": Standing.OPEN,
    "requires_action": Standing.OPEN,
    "requires_capture": Standing.HELD,
    "succeeded": Standing.CAPTURED,
    "canceled": Standing.VOIDED,
}
_REFUND_ID: Final = "refund_id"
_log = logging.getLogger(__name__)


class StripeProvider:
    """PaymentIntents that are captured by hand."""

    def __init__(self, client: stripe.StripeClient) -> None:
        """Use `StripeProvider.open`."""
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, api_key: str, *, url: str | None = None) -> AsyncIterator[StripeProvider]:
        """Talk to Stripe at *url*, by default where it is, as the account of *api_key*."""
        import stripe  # noqa: PLC0415  # see above

        # At DEBUG the library writes whole requests to its log, cards included.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        stripe.enable_telemetry = False
        http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=REQUEST_S))
        client = stripe.StripeClient(
            api_key, http_client=http, base_addresses={"api": url} if url else None, max_network_retries=0
        )
        try:
            yield cls(client)
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]  # the library's

    def reference_for(self, order_id: UUID) -> str | None:
        return None

    async def create_payment_method(self, card: Card) -> str:
        with _understood():
            method = await self._client.v1.payment_methods.create_async(
                {
                    "type": "card",
                    "card": {
                        "number": card.number,
                        "exp_month": card.expiry_month,
                        "exp_year": card.expiry_year,
                        "cvc": card.security_code,
                    },
                }
            )
        return method.id

    async def prepare(self, key: str, order_id: UUID, amount: Money) -> str:
        if amount.currency in COUNTED_DIFFERENTLY:
            raise Declined("currency_not_supported")
        with _understood():
            intent = await self._client.v1.payment_intents.create_async(
                {
                    "amount": amount.minor,
                    "currency": amount.currency.lower(),
                    "capture_method": "manual",
                    "allowed_payment_method_types": ["card"],
                    "metadata": {"order_id": str(order_id)},
                },
                {"idempotency_key": key},
            )
        return intent.id

    async def authorize(self, key: str, reference: str, amount: Money, payment_method: str) -> Found:
        with _understood(state_is_uncertain=True):
            intent = await self._client.v1.payment_intents.confirm_async(
                reference,
                # Nobody is there to be sent to their bank: a card that needs that is declined.
                {"payment_method": payment_method, "error_on_requires_action": True},
                {"idempotency_key": key},
            )
        return _found(intent)

    async def capture(self, key: str, reference: str, amount: Money) -> Found:
        with _understood():
            intent = await self._client.v1.payment_intents.capture_async(reference, {}, {"idempotency_key": key})
        return _found(intent)

    async def void(self, key: str, reference: str) -> Found:
        with _understood():
            intent = await self._client.v1.payment_intents.cancel_async(reference, {}, {"idempotency_key": key})
        return _found(intent)

    async def refund(self, key: str, reference: str, refund: Refund) -> Found:
        with _understood():
            done = await self._client.v1.refunds.create_async(
                {
                    "payment_intent": reference,
                    "amount": refund.minor,
                    "metadata": {_REFUND_ID: str(refund.refund_id)},
                    "expand": ["charge"],
                },
                {"idempotency_key": key},
            )
        if done.charge is None or isinstance(done.charge, str):
            raise ProviderUncertain("no charge in the answer")
        refused = done.status in ("failed", "canceled")
        ours = frozenset({refund.refund_id})
        return Found(
            standing=Standing.CAPTURED,
            refunded_minor=done.charge.amount_refunded,
            refunds=frozenset() if refused else ours,
            refused_refunds=ours if refused else frozenset(),
        )

    async def find(self, reference: str) -> Found:
        with _understood():
            intent = await self._client.v1.payment_intents.retrieve_async(reference, {"expand": ["latest_charge"]})
            found = _found(intent)
            if found.standing is not Standing.CAPTURED:
                return found
            listed = await self._client.v1.refunds.list_async({"payment_intent": reference, "limit": 100})
            refunds = [refund async for refund in listed.auto_paging_iter()]
        charge = intent.latest_charge
        return Found(
            standing=Standing.CAPTURED,
            refunded_minor=0 if charge is None or isinstance(charge, str) else charge.amount_refunded,
            refunds=_ours(refunds, {"succeeded", "pending", "requires_action"}),
            refused_refunds=_ours(refunds, {"failed", "canceled"}),
        )


class StripeWebhooks:
    """Stripe's own messages. They come late, twice and in any order, so they only say what to ask about."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def reference_in(self, body: bytes, signature: str) -> str | None:
        import stripe  # noqa: PLC0415  # see above

        try:
            event = stripe.Webhook.construct_event(body, signature, self._secret, api_key="none")
            about = event.data.object.to_dict()
        except (stripe.SignatureVerificationError, ValueError, LookupError, AttributeError):
            raise SignatureInvalid from None
        reference = about.get("id") if about.get("object") == "payment_intent" else about.get("payment_intent")
        return reference if isinstance(reference, str) else None


def _found(intent: stripe.PaymentIntent) -> Found:
    """Raises ProviderUncertain while Stripe doesn't know either."""
    standing = _STANDINGS.get(intent.status)
    if standing is None:
        raise ProviderUncertain(intent.status)
    failure = intent.last_payment_error
    if standing is Standing.OPEN and failure:
        return Found(standing=Standing.DECLINED, decline_code=_code(failure.decline_code, failure.code))
    return Found(standing=standing)


def _ours(refunds: list[stripe.Refund], states: set[str]) -> frozenset[UUID]:
    """Return the ids, as we gave them, of those in one of *states*."""
    notes = (refund.metadata.to_dict() for refund in refunds if refund.metadata and refund.status in states)
    return frozenset(UUID(note[_REFUND_ID]) for note in notes if _REFUND_ID in note)


def _code(*codes: str | None) -> str:
    return next((code for code in codes if code), "declined")


@contextmanager
def _understood(*, state_is_uncertain: bool = False) -> Iterator[None]:
    """Say in our words what Stripe's library raises; in none of its own, which may quote what was sent.

    Args:
        state_is_uncertain: Whether a refusal for the intent's state may mean that an earlier try has succeeded.
    """
    import stripe  # noqa: PLC0415  # see above

    try:
        yield
    except stripe.CardError as error:
        failure = error.error
        raise Declined(_code(failure.decline_code if failure else None, error.code)) from None
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        _log.error("Stripe does not accept the key", extra={"http.status": error.http_status})
        raise ProviderUnavailable("not authorised") from None
    except stripe.RateLimitError:
        raise ProviderUnavailable("rate limit") from None
    except stripe.IdempotencyError:  # a repeat has met the first, or carries another token
        raise ProviderUncertain("idempotency key in use") from None
    except stripe.InvalidRequestError as error:
        if state_is_uncertain and error.code == "payment_intent_unexpected_state":
            raise ProviderUncertain(error.code) from None
        raise Declined(_code(error.code)) from None
    except stripe.APIConnectionError as error:
        if isinstance(error.__cause__, aiohttp.ClientConnectorError):
            raise ProviderUnavailable("no connection") from None
        raise ProviderUncertain("connection lost") from None
    except (stripe.StripeError, aiohttp.ClientError, OSError) as error:
        raise ProviderUncertain(type(error).__name__) from None
