"""The simulated provider, as this service knows it. See `services.payments.simulator.server` for its API."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import aiohttp

from services.payments.domain import Found, Standing
from services.payments.provider import Declined, ProviderUnavailable, ProviderUncertain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from services.payments.domain import Refund
    from services.payments.money import Money
    from services.payments.provider import Card

__all__ = ["SimulatedProvider"]

CONNECT_S: Final = 1.0
_DECLINES: Final = {HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.UNPROCESSABLE_ENTITY}


class SimulatedProvider:
    """Speaks HTTP to it. An order's payment is called there what the order is called here."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Use `SimulatedProvider.open`."""
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[SimulatedProvider]:
        # Who calls bounds the whole; here, only what can be said for sure to have had no effect.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        async with aiohttp.ClientSession(url, timeout=timeout) as session:
            yield cls(session)

    def reference_for(self, order_id: UUID) -> str | None:
        return str(order_id)

    async def create_payment_method(self, card: Card) -> str:
        body = {
            "number": card.number,
            "expiry_month": card.expiry_month,
            "expiry_year": card.expiry_year,
            "security_code": card.security_code,
        }
        return str((await self._send("POST", "/payment_methods", body=body))["payment_method"])

    async def prepare(self, key: str, order_id: UUID, amount: Money) -> str:
        return str(order_id)

    async def authorize(self, key: str, reference: str, amount: Money, payment_method: str) -> Found:
        body = {
            "reference": reference,
            "currency": amount.currency,
            "amount": amount.minor,
            "payment_method": payment_method,
        }
        return _found(await self._send("POST", "/payments", key=key, body=body))

    async def capture(self, key: str, reference: str, amount: Money) -> Found:
        return _found(await self._send("POST", f"/payments/{reference}/capture", key=key))

    async def void(self, key: str, reference: str) -> Found:
        return _found(await self._send("POST", f"/payments/{reference}/void", key=key))

    async def refund(self, key: str, reference: str, refund: Refund) -> Found:
        body = {"refund": str(refund.refund_id), "amount": refund.minor}
        return _found(await self._send("POST", f"/payments/{reference}/refunds", key=key, body=body))

    async def find(self, reference: str) -> Found:
        account = await self._send("GET", f"/payments/{reference}", absent=HTTPStatus.NOT_FOUND)
        return _found(account) if account else Found(standing=Standing.UNKNOWN)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        key: str = "",
        body: Mapping[str, object] | None = None,
        absent: HTTPStatus | None = None,
    ) -> dict[str, Any]:
        """Return what is answered, nothing for the status *absent*.

        The errors raised are without a cause: what a request said must not come along in one.
        """
        headers = {"Idempotency-Key": key} if key else {}
        try:
            async with self._session.request(method, path, json=body, headers=headers) as response:
                status, answer = response.status, await response.json()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise ProviderUnavailable("no connection") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderUncertain(type(error).__name__) from None
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return dict(answer)
        if status == absent:
            return {}
        if status in _DECLINES:
            raise Declined(str(answer["code"]))
        raise ProviderUncertain(f"HTTP {status}")


def _found(account: Mapping[str, Any]) -> Found:
    return Found(
        standing=Standing(account["standing"]),
        decline_code=account["decline_code"],
        refunded_minor=account["refunded"],
        refunds=frozenset(UUID(refund["refund"]) for refund in account["refunds"]),
    )
