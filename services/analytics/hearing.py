"""What becomes of events as they are heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shop.users.v1 import events_pb2 as users

from services.analytics import behaviour_store
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

    Of a user who has deleted their account it is forgotten who did what. What they bought is still known to be bought
    by one and the same, without which nobody could tell how many come back; who that was nobody knows any more.
    """

    async def hear(tx: Transaction, received: Received[Any]) -> None:
        require_currency(received.event, currency)
        await keep(tx, [recorded(received)])

    async def forget(tx: Transaction, received: Received[users.UserDeleted]) -> None:
        await hear(tx, received)
        await behaviour_store.forget_user(tx, received.event.user_id)

    return {**dict.fromkeys(HEARD, hear), users.UserDeleted: forget}
