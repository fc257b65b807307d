"""What takes several services: having an order, and calling one off.

Why money that was taken and orders that are certain are the same, in every interleaving:

1.  Whether an order is certain is decided once, by its history: `Confirmed` and a shopper's `CancellationRequested`
    both want the version after `Placed`, and one of them gets it. With the request first, the pivot is refused and the
    placement undoes itself; with `Confirmed` first, the request begins a saga of its own.
2.  Money is taken by a step after the pivot only, so no order without `Confirmed` is ever charged. Holds are let go by
    compensations only, which run before the pivot only, so no certain order loses its hold by them. What arrives late,
    after its compensation, finds the door that the compensation closed: each of the peers keeps it closed by order.
3.  After the pivot the placement only goes forward, however often it takes; where that fails for good, a person is
    asked and the order is still certain.
4.  Calling off a certain order begins when its placement is over, so the two don't meet. Should they meet after all (a
    person resumes a placement that was stuck, an attempt that was given up arrives), then at each peer one of them is
    first. Placement first: the step is undone like any other. Calling off first: the door is closed, and the
    placement's step, finding its order called off, has nothing left to do.
5.  The pivot of calling off is shipping's word that no parcel leaves, now or later. It is asked before any money
    moves: if the parcel has left, the order is as certain as before, and paid; if not, the money goes back and nothing
    will be sent. An uncertain outcome is neither: it is asked for until it is known.
6.  What an order buys from a cart leaves the cart in the transaction that makes the order certain, so that money taken
    and goods gone from the cart are one decision. Until then the cart names the order, and nothing else may buy it; an
    order that is off can't become certain any more, so whatever it left in the cart is free without anybody's doing.

An address that no carrier serves is refused before there is an order: shipping is asked what it would cost, which books
nothing. The parcel itself is booked after the pivot only, since one booked before might leave before it is paid; and by
then a carrier may have stopped going there. The order is then called off by itself, as its shopper would have: the
money is given back, the goods return to the shelf, and nobody has to be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from services.orders import cart_store, store
from services.orders.domain import Order, State
from services.orders.events import CancellationRefused, CancellationRequested, Cancelled, Confirmed
from services.orders.refusals import (
    DESTINATION_NOT_SERVED,
    PEER_UNAVAILABLE,
    PlacementUnderWay,
    ReservationExpired,
)
from weft.client import PeerError
from weft.saga import JSON, Definition, Retry, Runner, SagaData, SagaNotFound, Step, StepCall

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from services.orders.journal import Journal
    from services.orders.peers import Inventory, Payments, Shipping
    from weft.data import Database, Transaction
    from weft.saga import Failure
    from weft.telemetry import Tracing

__all__ = ["CANCEL_ORDER", "PLACE_ORDER", "Pace", "Sagas"]

PLACE_ORDER: Final = "place_order"
CANCEL_ORDER: Final = "cancel_order"
HOLD_MARGIN: Final = timedelta(seconds=2)
"""How long goods must still be reserved when an order becomes certain: long enough for them to be sold."""
UNTIL_KNOWN: Final = Retry(max_attempts=1000, initial_backoff_s=0.2, max_backoff_s=10.0)
"""For hours, which is longer than all steps of a placement are tried."""
_LOOK_S: Final = 0.05
_NOBODY_SAID_NO: Final = {PEER_UNAVAILABLE, "DEADLINE_EXCEEDED", "ATTEMPTS_LOST", "INTERNAL"}
"""Reasons of steps that came to nothing without a peer's refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long steps may take, each a little more than the contract gives the call, and how often they are repeated."""

    stock_s: float = 2.5
    payment_s: float = 3.5
    shipment_s: float = 3.5
    retry: Retry | None = None
    """None is what suits each step: quick before the pivot, patient after it and on the way back."""
    until_known: Retry = UNTIL_KNOWN
    """Of what calling off has to know before it goes on or back."""


class Sagas:
    """The sagas of orders, on this replica.

    Args:
        database: Of the service.
        journal: Writes the orders' histories.
        inventory: Reserves, releases and sells.
        payments: Holds, takes, lets go and gives back.
        shipping: Books parcels and calls them off.
        tracing: Of the process.
        pace: Of the steps.
        clock: Tells the time.
        lease_s: As of `Runner`.
        poll_s: As of `Runner`.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        inventory: Inventory,
        payments: Payments,
        shipping: Shipping,
        *,
        tracing: Tracing | None = None,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease_s: float = 1.5,
        poll_s: float = 1.0,
    ) -> None:
        self._database, self._journal = database, journal
        self._inventory, self._payments, self._shipping = inventory, payments, shipping
        self._clock = clock
        pace = pace or Pace()
        definitions = (self._place_order(pace), self._cancel_order(pace))
        self.runner = Runner(database, definitions, tracing=tracing, lease_s=lease_s, poll_s=poll_s)

    async def begin_placing(self, tx: Transaction, order_id: UUID, *, is_from_cart: bool) -> None:
        """Have an order placed, once *tx* commits; the saga is known by the order's id."""
        await self.runner.start(tx, PLACE_ORDER, order_id, {"is_from_cart": is_from_cart})

    async def begin_cancelling(self, tx: Transaction, order: Order) -> UUID:
        """Have an order called off that has just become CANCELLING, once *tx* commits; return the saga's id."""
        saga_id = uuid5(order.order_id, f"{CANCEL_ORDER}:{order.version}")
        await self.runner.start(tx, CANCEL_ORDER, saga_id, {"order_id": str(order.order_id)})
        return saga_id

    def _place_order(self, pace: Pace) -> Definition:
        return Definition(
            name=PLACE_ORDER,
            steps=(
                Step(
                    name="reserve_stock",
                    action=self._reserve_stock,
                    compensation=self._release_stock,
                    timeout_s=pace.stock_s,
                    retry=pace.retry,
                ),
                Step(
                    name="authorize_payment",
                    action=self._authorize_payment,
                    record=self._forget_payment_method,
                    compensation=self._void_payment,
                    timeout_s=pace.payment_s,
                    retry=pace.retry,
                ),
                Step(name="confirm", record=self._confirm, pivot=True),
                # First of what remains: the reservation expires sooner than the hold on the money.
                Step(name="commit_stock", action=self._commit_stock, timeout_s=pace.stock_s, retry=pace.retry),
                Step(name="capture_payment", action=self._capture_payment, timeout_s=pace.payment_s, retry=pace.retry),
                Step(
                    name="schedule_shipment",
                    action=self._schedule_shipment,
                    record=self._call_off_what_cannot_be_sent,
                    timeout_s=pace.shipment_s,
                    retry=pace.retry,
                ),
            ),
            record_compensated=self._refuse,
        )

    def _cancel_order(self, pace: Pace) -> Definition:
        return Definition(
            name=CANCEL_ORDER,
            steps=(
                Step(name="await_placement", action=self._await_placement, retry=pace.until_known),
                Step(
                    name="cancel_shipment",
                    action=self._cancel_shipment,
                    pivot=True,
                    # A parcel that has left can't be called off any more: no attempt before has, and none ever will.
                    refusal_settles=True,
                    timeout_s=pace.shipment_s,
                    # Unknown is no outcome here, and a person who is asked knows no better.
                    retry=pace.until_known,
                ),
                Step(name="refund_payment", action=self._refund_payment, timeout_s=pace.payment_s, retry=pace.retry),
                Step(name="release_stock", action=self._restock, timeout_s=pace.stock_s, retry=pace.retry),
                Step(name="finish", record=self._finish),
            ),
            record_compensated=self._keep,
        )

    # Placing: the saga's id is the order's.

    async def _reserve_stock(self, call: StepCall) -> Mapping[str, JSON]:
        order = await store.get_order(self._database, call.saga_id)
        expire_time = await self._inventory.reserve(order, call.request_id)
        return {"reserved_until": expire_time.isoformat()} if expire_time else {}

    async def _release_stock(self, call: StepCall) -> None:
        await self._inventory.release(call.saga_id, call.request_id)

    async def _authorize_payment(self, call: StepCall) -> None:
        order = await store.get_order(self._database, call.saga_id)
        payment_method = await store.find_payment_method(self._database, call.saga_id)
        assert payment_method is not None, "it is deleted in the transaction that says that this step is done"
        if not order.total.is_nothing:
            await self._payments.authorize(order, payment_method, call.request_id)

    async def _forget_payment_method(self, tx: Transaction, given: SagaData) -> None:
        await store.delete_payment_method(tx, given.saga_id)

    async def _void_payment(self, call: StepCall) -> None:
        order = await store.get_order(self._database, call.saga_id)
        if not order.total.is_nothing:
            await self._payments.void(call.saga_id, call.request_id)

    async def _confirm(self, tx: Transaction, given: SagaData) -> None:
        reserved_until = given.data.get("reserved_until")
        now = self._clock()
        if reserved_until and datetime.fromisoformat(reserved_until) < now + HOLD_MARGIN:
            raise ReservationExpired
        order, _ = await self._journal.change(tx, given.saga_id, Confirmed(), now=now)
        if given.data.get("is_from_cart"):
            await cart_store.take_out(tx, order.user_id, order.order_id, order.lines)

    async def _commit_stock(self, call: StepCall) -> None:
        commit = self._inventory.commit(call.saga_id, call.request_id)
        # Where the door was closed so long ago that inventory has forgotten it, there is none.
        await self._unless_called_off(call.saga_id, commit, "RESERVATION_CLOSED", "RESERVATION_NOT_FOUND")

    async def _capture_payment(self, call: StepCall) -> None:
        order = await store.get_order(self._database, call.saga_id)
        # An order whose address is forgotten is at rest: what is tried here was done, or is called off.
        if order.destination is not None and not order.total.is_nothing:
            capture = self._payments.capture(order, order.destination, call.request_id)
            await self._unless_called_off(call.saga_id, capture, "PAYMENT_CLOSED")

    async def _schedule_shipment(self, call: StepCall) -> Mapping[str, JSON]:
        order = await store.get_order(self._database, call.saga_id)
        if order.destination is None:  # as above
            return {"is_served": True}
        schedule = self._shipping.schedule(order, order.destination, call.request_id)
        try:
            await self._unless_called_off(call.saga_id, schedule, "SHIPMENT_CANCELLED")
        except PeerError as error:
            if error.reason != DESTINATION_NOT_SERVED:
                raise
            return {"is_served": False}
        return {"is_served": True}

    async def _call_off_what_cannot_be_sent(self, tx: Transaction, given: SagaData) -> None:
        if given.data["is_served"]:
            return
        request = CancellationRequested(DESTINATION_NOT_SERVED)
        order, is_new = await self._journal.change(tx, given.saga_id, request, now=self._clock())
        if not is_new:
            return
        saga_id = await self.begin_cancelling(tx, order)

        async def go_on() -> None:
            await self.runner.run(saga_id, until=0.0)  # waits for nothing

        tx.after_commit(go_on)

    async def _refuse(self, tx: Transaction, given: SagaData) -> None:
        failure = given.failure
        assert failure is not None, "what is compensated has failed"

        def refuse(order: Order) -> Cancelled:
            # Who called it off meanwhile is told just that, and not offered to try again.
            return Cancelled(order.cancel_reason if order.state is State.CANCELLING else _reason(failure))

        await self._journal.change(tx, given.saga_id, refuse, now=self._clock())
        await store.delete_payment_method(tx, given.saga_id)

    # Calling off.

    async def _await_placement(self, call: StepCall) -> None:
        """Return when the placement is over: done, or stuck, when nobody goes on with it unasked."""
        loop, order_id = asyncio.get_running_loop(), _order_id(call.data)
        give_up = loop.time() + 1.0
        while True:
            try:
                progress = await self.runner.run(order_id, until=loop.time())
            except SagaNotFound:  # from before there were any, or over so long ago that it is forgotten
                return
            if progress.status.is_over:
                return
            if loop.time() > give_up:
                raise PlacementUnderWay
            await asyncio.sleep(_LOOK_S)

    async def _cancel_shipment(self, call: StepCall) -> None:
        await self._shipping.cancel(_order_id(call.data), call.request_id)

    async def _refund_payment(self, call: StepCall) -> None:
        order = await store.get_order(self._database, _order_id(call.data))
        # From before there were payments, where nothing was ever held; or at rest and forgotten, so all is given back.
        if order.destination is not None and not order.total.is_nothing:
            await self._payments.refund(order.order_id, call.request_id)

    async def _restock(self, call: StepCall) -> None:
        await self._inventory.release(_order_id(call.data), call.request_id)

    async def _finish(self, tx: Transaction, given: SagaData) -> None:
        await self._journal.change(
            tx, _order_id(given.data), lambda order: Cancelled(order.cancel_reason), now=self._clock()
        )

    async def _keep(self, tx: Transaction, given: SagaData) -> None:
        assert given.failure is not None, "what is compensated has failed"
        refused = CancellationRefused(_reason(given.failure))
        await self._journal.change(tx, _order_id(given.data), refused, now=self._clock())

    async def _unless_called_off(self, order_id: UUID, step: Awaitable[None], *closed: str) -> None:
        """Await *step* of an order, unless one of *closed* refuses it and the order is called off: see 4. above."""
        try:
            await step
        except PeerError as error:
            if error.reason not in closed or not (await store.get_order(self._database, order_id)).is_called_off:
                raise


def _order_id(data: Mapping[str, JSON]) -> UUID:
    return UUID(data["order_id"])


def _reason(failure: Failure) -> str:
    return PEER_UNAVAILABLE if failure.reason in _NOBODY_SAID_NO else failure.reason
