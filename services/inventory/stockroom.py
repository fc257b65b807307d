"""Moves units, in one transaction each time: what an order holds, its levels, the ledger, and what others hear."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from shop.inventory.v1 import events_pb2, inventory_pb2

from services.inventory import store
from services.inventory.domain import (
    KEPT,
    Action,
    Availability,
    Change,
    Level,
    Line,
    Reservation,
    ReservationNotFound,
    State,
    adjustment,
    apply_changes,
    crossed,
    fallen,
    require_distinct,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from google.protobuf.message import Message

    from weft.data import Database, Transaction

__all__ = ["LEVELS", "Publisher", "Stockroom"]

LEVELS: Final = {each: inventory_pb2.StockLevel.Value(f"STOCK_LEVEL_{each.name}") for each in Availability}
"""As the contract writes them."""

_log = logging.getLogger(__name__)


class Publisher(Protocol):
    """Where events go: the service's outbox."""

    async def publish_all(self, tx: Transaction, events: Sequence[Message]) -> None:
        """Publish *events* if and when *tx* commits."""


class Stockroom:
    """Does what orders and administrators ask for.

    Args:
        database: Of the service.
        publisher: Takes events.
        hold_s: How long a reservation holds if nobody commits it.
    """

    def __init__(self, database: Database, publisher: Publisher, *, hold_s: float) -> None:
        self._database = database
        self._publisher = publisher
        self._hold_s = hold_s

    async def reserve(self, order_id: UUID, lines: Sequence[Line]) -> datetime:
        """Reserve all of *lines* for an order, or none, once; return until when they are held.

        Raises:
            DuplicateSkus, InsufficientStock, ReservationClosed, ReservationDiffers: nothing was done.
        """
        require_distinct(lines)
        async with self._database.transaction() as tx:
            reservation, known_at = await self._open(tx, order_id, State.RESERVED, lines, hold_s=self._hold_s)
            if known_at:
                reservation.require_same(lines, now=known_at)
            else:
                await self._move(tx, reservation.opened(), lines=lines)
            return reservation.expire_time

    async def release(self, order_id: UUID) -> None:
        """Give an order's units back to the shelf, and see to it that it gets none any more."""
        async with self._database.transaction() as tx:
            reservation, known_at = await self._open(tx, order_id, State.RELEASED, (), hold_s=0)
            if known_at:
                await self._apply(tx, reservation, Action.RELEASE)

    async def commit(self, order_id: UUID) -> None:
        """Sell an order's units.

        Raises:
            ReservationNotFound, ReservationClosed, InsufficientStock: nothing was done.
        """
        async with self._database.transaction() as tx:
            found = await store.lock_reservation(tx, order_id)
            if found is None:
                raise ReservationNotFound(order_id)
            await self._apply(tx, found[0], Action.COMMIT)

    async def adjust(self, sku: str, delta: int, reason: str, *, threshold: int | None) -> Level:
        """Put *delta* units on the shelf, or take them away, and set the SKU's threshold; return its level.

        Raises:
            InsufficientStock: fewer would be on hand than none.
        """
        async with self._database.transaction() as tx:
            await store.add_level(tx, sku)
            before = await store.lock_levels(tx, [sku])
            change = adjustment(sku, delta, reason)
            after = apply_changes(before, [change], threshold=threshold)
            if threshold is not None:
                await store.save_threshold(tx, sku, threshold)
            await store.record(tx, [change], crossed(before, after))
            after = await store.lock_levels(tx, [sku])  # with its time
            await self._announce(tx, before, after)
            return after[sku]

    async def expire(self, *, limit: int) -> int:
        """Give back what up to *limit* reservations hold that nobody has committed in time; return how many did."""
        if not await store.has_overdue(self._database):
            return 0
        async with self._database.transaction() as tx:
            overdue = await store.find_overdue(tx, limit)
            if overdue:
                changes = [change for each in overdue for change in each.apply(Action.EXPIRE)[1]]
                await store.save_state(tx, [each.order_id for each in overdue], State.EXPIRED)
                await self._move(tx, changes)
        if overdue:
            _log.info("reservations expired", extra={"reservations": len(overdue)})
        return len(overdue)

    async def forget(self, *, limit: int) -> int:
        """Delete up to *limit* reservations that were over longer than they are `KEPT`; return how many were."""
        async with self._database.transaction() as tx:
            return await store.delete_ended(tx, KEPT, limit)

    async def _open(
        self, tx: Transaction, order_id: UUID, state: State, lines: Sequence[Line], *, hold_s: float
    ) -> tuple[Reservation, datetime | None]:
        """Make an order's reservation, or lock the one it has; return it, and the time where it has one."""
        while True:
            opened = await store.open_reservation(tx, order_id, state, lines, hold_s=hold_s)
            if opened:
                return opened, None
            found = await store.lock_reservation(tx, order_id)
            if found:
                return found
            # It was forgotten between the two.

    async def _apply(self, tx: Transaction, before: Reservation, action: Action) -> None:
        """Raises ReservationClosed, InsufficientStock."""
        after, changes = before.apply(action)
        if after.state is not before.state:
            await store.save_state(tx, [before.order_id], after.state)
        if changes:
            await self._move(tx, changes)

    async def _move(self, tx: Transaction, changes: Sequence[Change], *, lines: Sequence[Line] = ()) -> None:
        """Raises InsufficientStock, which names *lines*."""
        before = await store.lock_levels(tx, {change.sku for change in changes})
        after = apply_changes(before, changes, lines=lines)
        await store.record(tx, changes, crossed(before, after))
        await self._announce(tx, before, after)

    async def _announce(self, tx: Transaction, before: dict[str, Level], after: dict[str, Level]) -> None:
        """Tell others what is news to them, in one statement; usually nothing is."""
        events: list[Message] = [
            events_pb2.StockLow(
                sku=level.sku, on_hand=level.units.on_hand, low_stock_threshold=level.low_stock_threshold
            )
            for level in fallen(before, after)
        ]
        events += [
            events_pb2.AvailabilityChanged(sku=level.sku, level=LEVELS[level.availability], revision=level.revision)
            for level in crossed(before, after)
        ]
        if events:
            await self._publisher.publish_all(tx, events)
