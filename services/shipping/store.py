"""Shipments as rows. The transaction is the caller's; reads without one are hot and run outside any."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import DateTime, Integer, Text, Uuid, any_, bindparam, func, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.shipping.domain import (
    AT_REST,
    FORWARD,
    Address,
    Booking,
    Money,
    Parcel,
    Shipment,
    ShipmentNotFound,
    State,
)
from services.shipping.tables import ORDER_UNIQUE, forgotten_users, shipments
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import ColumnElement

    from weft.data import Database, Transaction

__all__ = [
    "add_shipment",
    "find_shipment",
    "forget_destinations",
    "forget_user",
    "forgotten_among",
    "get_progress",
    "has_due",
    "list_of_user",
    "list_page",
    "lock_due",
    "lock_shipment",
    "lock_tracked",
    "save_state",
]

_SHIPMENT: Final = (
    shipments.c.shipment_id,
    shipments.c.order_id,
    shipments.c.state,
    shipments.c.update_time,
    shipments.c.user_id,
    shipments.c.tracking_number,
    shipments.c.rate_currency,
    shipments.c.rate_units,
    shipments.c.rate_nanos,
    shipments.c.recipient,
    shipments.c.street_lines,
    shipments.c.postal_code,
    shipments.c.city,
    shipments.c.country_code,
    shipments.c.create_time,
)

_BY_ORDER: Final = prepare(select(*_SHIPMENT).where(shipments.c.order_id == bindparam("order_id")))
_PROGRESS: Final = prepare(
    select(shipments.c.state, shipments.c.update_time).where(
        shipments.c.tracking_number == bindparam("tracking_number")
    )
)

_NEWEST_FIRST: Final = (shipments.c.create_time.desc(), shipments.c.shipment_id.desc())
_LIMIT: Final = bindparam("limit", type_=Integer)
_BOOKED: Final = shipments.c.tracking_number.is_not(None)
_AFTER: Final = tuple_(shipments.c.create_time, shipments.c.shipment_id) < tuple_(
    bindparam("create_time", type_=DateTime(timezone=True)), bindparam("shipment_id", type_=Uuid)
)
_PAGE: Final = select(*_SHIPMENT).order_by(*_NEWEST_FIRST).limit(_LIMIT)
_FIRST_PAGE: Final = prepare(_PAGE.where(_BOOKED))
_NEXT_PAGE: Final = prepare(_PAGE.where(_BOOKED, _AFTER))
_OF_USER: Final = shipments.c.user_id == bindparam("user_id", type_=Text)
_FIRST_OF_USER: Final = prepare(_PAGE.where(_OF_USER))
_NEXT_OF_USER: Final = prepare(_PAGE.where(_OF_USER, _AFTER))

# As text and not as a parameter: only then may every plan use the index of what is under way.
_UNDER_WAY: Final = text(f"state IN ({', '.join(repr(state.value) for state in FORWARD)})")
_ANY_DUE: Final = prepare(
    select(shipments.c.shipment_id)
    .where(_UNDER_WAY, shipments.c.update_time <= bindparam("before", type_=DateTime(timezone=True)))
    .limit(1)
)


_ANSWERS_KEPT: Final = timedelta(days=2)
"""Longer than the mesh keeps answers to requests."""
_FORGOTTEN: Final = {"recipient": "", "street_lines": [], "postal_code": "", "city": ""}
"""An address as `Address.forgotten` has it."""


async def find_shipment(database: Database, order_id: UUID) -> Shipment | None:
    row = await database.fetch_one(_BY_ORDER, order_id=order_id)
    return None if row is None else _shipment(row)


async def get_progress(database: Database, tracking_number: str) -> tuple[State, datetime]:
    """Return where a parcel is, and since when. Raises ShipmentNotFound."""
    row = await database.fetch_one(_PROGRESS, tracking_number=tracking_number)
    if row is None:
        raise ShipmentNotFound(tracking_number=tracking_number)
    return State(row["state"]), row["update_time"]


async def list_page(database: Database, limit: int, after: tuple[Any, ...] | None) -> list[Shipment]:
    """Return up to *limit* shipments with a parcel, newest first, that come after *after*: create_time, shipment_id."""
    if after is None:
        rows = await database.fetch_all(_FIRST_PAGE, limit=limit)
    else:
        rows = await database.fetch_all(_NEXT_PAGE, limit=limit, create_time=after[0], shipment_id=after[1])
    return [_shipment(row) for row in rows]


async def list_of_user(database: Database, user_id: str, limit: int, after: tuple[Any, ...] | None) -> list[Shipment]:
    """Return a user's shipments as `list_page` does everybody's."""
    if after is None:
        rows = await database.fetch_all(_FIRST_OF_USER, user_id=user_id, limit=limit)
    else:
        position = {"create_time": after[0], "shipment_id": after[1]}
        rows = await database.fetch_all(_NEXT_OF_USER, user_id=user_id, limit=limit, **position)
    return [_shipment(row) for row in rows]


async def has_due(database: Database, before: datetime) -> bool:
    """Tell whether a parcel is under way that has been where it is since *before*."""
    return await database.fetch_one(_ANY_DUE, before=before) is not None


async def add_shipment(tx: Transaction, shipment: Shipment) -> bool:
    """Add *shipment* unless its order has one; tell whether it was added. Waits for who is adding one, if any."""
    row = {
        "shipment_id": shipment.shipment_id,
        "order_id": shipment.order_id,
        "state": shipment.state.value,
        "update_time": shipment.update_time,
    }
    if shipment.parcel:
        row |= _columns(shipment.parcel)
    return await tx.execute(insert(shipments).values(row).on_conflict_do_nothing(constraint=ORDER_UNIQUE)) == 1


async def lock_shipment(tx: Transaction, order_id: UUID) -> Shipment:
    """Read an order's shipment and hold it until the transaction ends. Raises ShipmentNotFound."""
    return await _lock(tx, shipments.c.order_id == order_id, order_id=order_id)


async def lock_tracked(tx: Transaction, tracking_number: str) -> Shipment:
    """Read a parcel's shipment and hold it until the transaction ends. Raises ShipmentNotFound."""
    return await _lock(tx, shipments.c.tracking_number == tracking_number, tracking_number=tracking_number)


async def lock_due(tx: Transaction, before: datetime, limit: int) -> list[Shipment]:
    """Lock up to *limit* shipments that have been where they are since *before*, skipping those others have locked."""
    due = select(*_SHIPMENT).where(_UNDER_WAY, shipments.c.update_time <= before)
    due = due.order_by(shipments.c.update_time).limit(limit).with_for_update(skip_locked=True)
    return [_shipment(row) for row in await tx.all(due)]


async def save_state(tx: Transaction, changed: Collection[Shipment]) -> None:
    """Write what can change of shipments that are all in the same state: that state."""
    (state, update_time) = {(shipment.state, shipment.update_time) for shipment in changed}.pop()
    ids = literal([shipment.shipment_id for shipment in changed], ARRAY(Uuid))
    await tx.execute(
        update(shipments).where(shipments.c.shipment_id == any_(ids)).values(state=state.value, update_time=update_time)
    )


async def forget_user(tx: Transaction, user_id: str) -> list[UUID]:
    """Empty the addresses of a user's parcels that are at rest, and remember to do so with those under way.

    Returns:
        The orders of all parcels that were booked, or were elsewhere, within the last two days.

    Who brings a parcel to rest holds its row, and looks whether its user is forgotten when that is locked. So rows are
    locked here before they are looked at: either we see that it came to rest, or they see that its user is forgotten.
    """
    remembered = insert(forgotten_users).values(user_id=user_id, delete_time=func.now())
    await tx.execute(remembered.on_conflict_do_nothing())
    under_way = select(shipments.c.shipment_id).where(shipments.c.user_id == user_id, _UNDER_WAY)
    await tx.execute(under_way.order_by(shipments.c.shipment_id).with_for_update())
    at_rest = shipments.c.state.in_([state.value for state in AT_REST])
    await tx.execute(update(shipments).where(shipments.c.user_id == user_id, at_rest).values(_FORGOTTEN))
    recent = select(shipments.c.order_id).where(
        shipments.c.user_id == user_id, shipments.c.update_time > func.now() - _ANSWERS_KEPT
    )
    return [row.order_id for row in await tx.all(recent)]


async def forgotten_among(tx: Transaction, user_ids: Collection[str]) -> set[str]:
    """Return those of *user_ids* who are forgotten."""
    which = select(forgotten_users.c.user_id).where(
        forgotten_users.c.user_id == any_(literal([*user_ids], ARRAY(Text)))
    )
    return {row.user_id for row in await tx.all(which)}


async def forget_destinations(tx: Transaction, which: Collection[Shipment]) -> None:
    """Empty the addresses of *which*, but for the country."""
    ids = literal([shipment.shipment_id for shipment in which], ARRAY(Uuid))
    await tx.execute(update(shipments).where(shipments.c.shipment_id == any_(ids)).values(_FORGOTTEN))


async def _lock(tx: Transaction, which: ColumnElement[bool], **names: object) -> Shipment:
    row = await tx.first(select(*_SHIPMENT).where(which).with_for_update())
    if row is None:
        raise ShipmentNotFound(**names)
    return _shipment(row)


def _columns(parcel: Parcel) -> dict[str, Any]:
    return {
        "user_id": parcel.user_id,
        "tracking_number": parcel.booking.tracking_number,
        "rate_currency": parcel.booking.rate.currency,
        "rate_units": parcel.booking.rate.units,
        "rate_nanos": parcel.booking.rate.nanos,
        "recipient": parcel.destination.recipient,
        "street_lines": list(parcel.destination.street_lines),
        "postal_code": parcel.destination.postal_code,
        "city": parcel.destination.city,
        "country_code": parcel.destination.country_code,
        "create_time": parcel.create_time,
    }


def _shipment(row: Iterable[Any]) -> Shipment:
    shipment_id, order_id, state, update_time, *parcel = row
    return Shipment(
        shipment_id=shipment_id,
        order_id=order_id,
        state=State(state),
        parcel=None if parcel[0] is None else _parcel(parcel),
        update_time=update_time,
    )


def _parcel(row: Iterable[Any]) -> Parcel:
    (
        user_id,
        tracking_number,
        currency,
        units,
        nanos,
        recipient,
        street_lines,
        postal_code,
        city,
        country_code,
        create_time,
    ) = row
    return Parcel(
        user_id=user_id,
        booking=Booking(tracking_number, Money(currency, units, nanos)),
        destination=Address(
            recipient=recipient,
            street_lines=tuple(street_lines),
            postal_code=postal_code,
            city=city,
            country_code=country_code,
        ),
        create_time=create_time,
    )
