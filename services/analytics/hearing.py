"""What becomes of events as they are heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.analytics.facts import HEARD, require_currency
from services.analytics.history import recorded
from services.analytics.projections import keep

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from weft.data import Transaction
    from weft.events import Handler, Received

__all__ = ["handlers"]


def handlers(currency: str) -> dict[type[Message], Handler]:
    """Return what applies each event of the contract's subscriptions, for a shop that counts in *currency*.

    An event in another currency is refused with FOREIGN_CURRENCY, and so becomes a dead letter; it isn't in the
    history, and no report knows of it, until it is redriven.
    """

    async def hear(tx: Transaction, received: Received[Any]) -> None:
        require_currency(received.event, currency)
        await keep(tx, [recorded(received)])

    return dict.fromkeys(HEARD, hear)
