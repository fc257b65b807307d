"""What becomes of addresses when users tells that somebody has deleted their account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shop.users.v1 import events_pb2

from services.shipping import store
from weft.data import forget_answers

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
    """Forget where the user lives. A parcel under way keeps its address until it is at rest.

    Answers to requests, which show the address too, go at once: whoever repeats a request is shown the parcel as it is.
    """
    for order_id in await store.forget_user(tx, received.event.user_id):
        await forget_answers(tx, about=str(order_id))
