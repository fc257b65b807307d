"""What becomes of bills when users tells that somebody has deleted their account.

Invoices and credit notes stay as they were issued, name and address included: whoever sells has to keep them for years,
and may not change them (in the European Union Directive 2006/112/EC, articles 233 and 244 to 247). A refund that
comes later takes the buyer from the invoice, so its credit note is as any other. Payments say who paid by a user's id
only, which leads to nobody any more. Cards and tokens are not kept in the first place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shop.users.v1 import events_pb2

from services.payments import invoice_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from weft.data import Transaction
    from weft.events import Handler, Received

__all__ = ["handlers"]


def handlers() -> Mapping[type[Message], Handler]:
    """Return what applies each event of the subscription `users`."""
    return {events_pb2.UserDeleted: _forget}


async def _forget(tx: Transaction, received: Received[Any]) -> None:
    await invoice_store.forget_bills(tx, received.event.user_id)
