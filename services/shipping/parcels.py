"""Has parcels carried: what the carrier does, what is kept of it, and what others hear.

The carrier is never asked inside a transaction. It knows parcels by their orders, so that whoever is killed between the
two may just be asked again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from services.shipping import store
from services.shipping.announcements import announce
from services.shipping.domain import AT_REST, FORWARD, Action, Address, Parcel, Shipment, State
from weft.data import forget_answers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from services.shipping.announcements import Publisher
    from services.shipping.carrier import Carrier
    from services.shipping.domain import Money
    from weft.data import Database, Transaction

__all__ = ["Parcels"]


class _AddedElsewhere(Exception):
    """The order has had a shipment since it was looked for."""


class Parcels:
    """Does what orders and the carrier ask for."""

    def __init__(self, database: Database, carrier: Carrier, publisher: Publisher) -> None:
        self._database = database
        self._carrier = carrier
        self._publisher = publisher

    async def quote(self, country_code: str, units: int) -> Money:
        """Return the rate at which `schedule` would book *units* to a country.

        Raises:
            DestinationNotServed: it would not.
            CarrierUnavailable: it can't be known at the moment.
        """
        return await self._carrier.quote(country_code, units)

    async def schedule(self, order_id: UUID, user_id: str, destination: Address, units: int) -> Shipment:
        """Book an order's parcel, once; return its shipment as it is now.

        Raises:
            ShipmentCancelled, DestinationNotServed: it won't be.
            CarrierUnavailable: it isn't yet; ask again.
        """
        known = await store.find_shipment(self._database, order_id)
        if known:
            return known.require_open()
        booking = await self._carrier.book(order_id, destination, units)
        parcel = Parcel(user_id=user_id, booking=booking, destination=destination, create_time=datetime.now(UTC))
        shipment = Shipment.of(parcel, shipment_id=uuid4(), order_id=order_id)
        try:
            async with self._database.transaction() as tx:
                await self._add(tx, shipment)
        except _AddedElsewhere:
            return await self._scheduled_elsewhere(shipment)
        return shipment

    async def cancel(self, order_id: UUID) -> None:
        """Call an order's shipment off, and see to it that none is booked any more.

        Raises:
            ShipmentDispatched: it has left.
            CarrierUnavailable: the carrier may carry it all the same; ask again.
        """
        known = await store.find_shipment(self._database, order_id)
        if known is None:
            closed = Shipment.closed_door(shipment_id=uuid4(), order_id=order_id, now=datetime.now(UTC))
            # Stays whatever becomes of this call: from here on the order gets no parcel.
            async with self._database.transaction(independent=True) as tx:
                await store.add_shipment(tx, closed)
                known = await store.lock_shipment(tx, order_id)
        if known.parcel:
            known.apply(Action.CANCEL, now=datetime.now(UTC))
            await self._carrier.cancel(known.parcel.booking.tracking_number)
            await self._apply(Action.CANCEL, lambda tx: store.lock_shipment(tx, order_id))
        elif tracking_number := await self._carrier.find(order_id):  # booked by one who was killed before it was kept
            await self._carrier.cancel(tracking_number)

    async def report(self, tracking_number: str, action: Action) -> Shipment:
        """Note what the carrier has done with a parcel; return its shipment as it is now.

        Raises:
            ShipmentNotFound, IllegalTransition: nothing was noted.
        """
        return await self._apply(action, lambda tx: store.lock_tracked(tx, tracking_number))

    async def advance(self, *, step_s: float, limit: int) -> int:
        """Move up to *limit* parcels on that have been where they are for *step_s*; return how many were moved.

        This is the simulated carrier at work; a real one reports.
        """
        now = datetime.now(UTC)
        before = now - timedelta(seconds=step_s)
        if not await store.has_due(self._database, before):
            return 0
        async with self._database.transaction() as tx:
            due = await store.lock_due(tx, before, limit)
            moved = [shipment.apply(FORWARD[shipment.state], now=now) for shipment in due]
            for _, group in groupby(sorted(moved, key=_state), key=_state):
                await _save(tx, list(group))
            for shipment in moved:
                await announce(self._publisher, tx, shipment)
            return len(moved)

    async def _add(self, tx: Transaction, shipment: Shipment) -> None:
        """Raises _AddedElsewhere, which ends the transaction: the carrier may have to be asked again."""
        if not await store.add_shipment(tx, shipment):
            raise _AddedElsewhere
        await announce(self._publisher, tx, shipment)

    async def _scheduled_elsewhere(self, ours: Shipment) -> Shipment:
        """Return the shipment that the order has.

        Raises:
            ShipmentCancelled: it was cancelled while the carrier was asked, by one who may not have found the parcel.
        """
        known = await store.find_shipment(self._database, ours.order_id)
        assert known, "shipments stay for ever"
        assert ours.parcel
        if known.state is State.CANCELLED:
            await self._carrier.cancel(ours.parcel.booking.tracking_number)
        return known.require_open()

    async def _apply(self, action: Action, lock: Callable[[Transaction], Awaitable[Shipment]]) -> Shipment:
        """Raises ShipmentNotFound, ShipmentDispatched, IllegalTransition."""
        async with self._database.transaction() as tx:
            before = await lock(tx)
            after = before.apply(action, now=datetime.now(UTC))
            if after is not before:
                [after] = await _save(tx, [after])
                await announce(self._publisher, tx, after)
            return after


async def _save(tx: Transaction, changed: Sequence[Shipment]) -> Sequence[Shipment]:
    """Write the state of shipments that are all in the same, and forget addresses whose time has come.

    Returns:
        The shipments as they are kept.
    """
    await store.save_state(tx, changed)
    users = {shipment.parcel.user_id for shipment in changed if shipment.parcel and shipment.state in AT_REST}
    forgotten = await store.forgotten_among(tx, users) if users else set()
    if not forgotten:
        return changed
    kept = [each.forgotten() if each.parcel and each.parcel.user_id in forgotten else each for each in changed]
    emptied = [after for after, before in zip(kept, changed, strict=True) if after != before]
    await store.forget_destinations(tx, emptied)
    for shipment in emptied:  # which was booked, perhaps, after the user was forgotten
        await forget_answers(tx, about=str(shipment.order_id))
    return kept


def _state(shipment: Shipment) -> str:
    return shipment.state.value
