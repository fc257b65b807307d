"""Placing orders and calling them off, from the call's side: what is begun, what is joined, and what is waited for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID, uuid4

from services.orders import cart_store, queries, store
from services.orders.cart import Seen, differences
from services.orders.domain import FOLLOWED, Order, State
from services.orders.events import Address, CancellationRequested, Placed
from services.orders.pricing import Offer, Terms, Wanted, require_distinct, terms
from services.orders.refusals import (
    CANCELLED_BY_USER,
    CartChanged,
    CartEmpty,
    IllegalTransition,
    OrderNotFound,
    order_refused,
)
from services.orders.store import Placement
from weft.data import RequestIdReused
from weft.errors import ServiceError, Violation
from weft.saga import SagaNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from services.orders.journal import Journal
    from services.orders.money import Money
    from services.orders.peers import Buyers, Offers, Shipping
    from services.orders.saga import Sagas
    from services.orders.watching import Changes
    from weft.data import Database, Transaction
    from weft.saga import Failure

__all__ = ["Ordering", "Purchase"]

LOOK_AGAIN_S: Final = 0.5
"""Between two looks at an order that is waited for, while nobody tells that it has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What somebody asks for."""

    user_id: str
    lines: tuple[Wanted, ...]
    seen: Seen | None = None
    """What the cart was to cost that *lines* are the content of; None where nothing is bought from a cart."""
    destination: Address
    payment_method: str = field(repr=False)
    request_id: str
    """The same in every copy of one request; empty where there is only one."""
    fingerprint: bytes
    """Digest of all but the request id."""

    @property
    def field(self) -> str:
        """What *lines* are called in the request."""
        return "expectedLines" if self.seen else "lines"


class Market(NamedTuple):
    """What others offer at this moment."""

    offers: Mapping[UUID, Offer]
    shipping: Money
    """For sending all of it."""

    def terms(self, purchase: Purchase) -> Terms | None:
        """Return what *purchase* comes to; None where it is a cart, and not all that was seen in it can be had.

        Raises:
            ProductNotFound: it is no cart, and not all of it can be had.
            CurrenciesDiffer: what it costs has no sum.
        """
        if purchase.seen and not all(line.product_id in self.offers for line in purchase.lines):
            return None
        return terms(purchase.lines, self.offers, self.shipping, purchase.destination.country_code)


class Ordering:
    """Orders, from their beginning to where nothing can change any more.

    No transaction is open, and no connection taken, while a saga runs or is waited for.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        sagas: Sagas,
        buyers: Buyers,
        offers: Offers,
        shipping: Shipping,
        changes: Changes,
    ) -> None:
        self._database, self._journal, self._sagas = database, journal, sagas
        self._buyers, self._offers, self._shipping, self._changes = buyers, offers, shipping, changes

    async def place(self, purchase: Purchase, *, until: float) -> Order:
        """Place an order, or join the one that a copy of the request has placed; return it as it then stands.

        What is bought from a cart stays there until the order is certain, so that a refusal takes nothing out of it;
        until then it can't be bought a second time.

        Args:
            purchase: What is asked for.
            until: When to stop waiting for it to be decided, by the event loop's clock; it then goes on by itself.

        Raises:
            ServiceError: as the contract of PlaceOrder or CheckOutCart says.
        """
        require_distinct(purchase.lines, purchase.field)
        order_id = await self._find_joined(purchase)
        if order_id is None:
            order_id = await self._begin(purchase, await self._ask(purchase))
        order, failure = await self._decided(order_id, until=until)
        if order.is_refused:
            message, metadata = (failure.message, failure.metadata) if failure else ("", {})
            raise order_refused(order_id, order.cancel_reason, message, metadata, field=purchase.field)
        return order

    async def cancel(self, order_id: UUID, user_id: str, *, until: float) -> Order:
        """Call an order of the user's off; return it as it then stands.

        Raises:
            OrderNotFound: the user has no such order.
            IllegalTransition: it has left.
        """

        def request(order: Order) -> CancellationRequested:
            if order.user_id != user_id:
                raise OrderNotFound(order_id)
            return CancellationRequested(CANCELLED_BY_USER)

        saga_id: UUID | None = None
        async with self._database.transaction(independent=True) as tx:
            order, is_new = await self._journal.change(tx, order_id, request, now=datetime.now(UTC))
            if is_new and order.is_confirmed:
                saga_id = await self._sagas.begin_cancelling(tx, order)
        if saga_id:
            await self._sagas.runner.run(saga_id, until=until)
        order = await self._left(order, State.CANCELLING, until=until)
        if not order.is_called_off:
            raise IllegalTransition(
                "the order has left and can't be called off any more", state=order.state, action="cancel"
            )
        return order

    async def watch(self, order_id: UUID, user_id: str) -> AsyncGenerator[Order]:
        """Yield an order of the user's as it is, and after every change, until nothing is under way any more.

        Raises:
            OrderNotFound: the user has no such order.
        """
        version = 0
        with self._changes.watching(order_id) as watcher:
            while True:
                order = await queries.get_order(self._database, str(order_id), user_id)
                if order.version > version:
                    version = order.version
                    yield order
                if order.state not in FOLLOWED:
                    return
                await watcher.changed()

    async def forget(self, *, limit: int) -> int:
        """Delete what up to *limit* requests have placed longer ago than answers are kept; return how many were.

        A repeat that comes later still is a new request, whose answer was forgotten too; the order stays.
        """
        kept = timedelta(seconds=self._database.answer_ttl_s)
        async with self._database.transaction() as tx:
            return await store.delete_placements(tx, kept, limit)

    async def _find_joined(self, purchase: Purchase) -> UUID | None:
        """Return the order that a copy of the request has placed, if it may stand for this one too."""
        if not purchase.request_id:
            return None
        placement = await store.find_placement(self._database, purchase.user_id, purchase.request_id)
        if placement is None:
            return None
        order = await store.get_order(self._database, placement.order_id)
        return _joined(purchase, placement, order)

    async def _begin(self, purchase: Purchase, market: Market) -> UUID:
        """Begin an order, or find the one to join that a copy of the request has begun meanwhile; return its id."""
        order_id, agreed = uuid4(), market.terms(purchase)
        async with self._database.transaction(independent=True) as tx:
            if purchase.request_id and (joined := await self._claim(tx, purchase, order_id)):
                return joined
            if purchase.seen:
                await self._take_cart(tx, purchase, purchase.seen, market, agreed, order_id)
            assert agreed is not None, "what can't be had is a difference to what was seen"
            placed = Placed(
                user_id=purchase.user_id,
                lines=agreed.lines,
                destination=purchase.destination,
                shipping=agreed.shipping,
                taxes=agreed.taxes,
            )
            await self._journal.begin(tx, order_id, placed, now=datetime.now(UTC))
            await store.add_payment_method(tx, order_id, purchase.payment_method)
            await self._sagas.begin_placing(tx, order_id, is_from_cart=purchase.seen is not None)
        return order_id

    async def _take_cart(
        self, tx: Transaction, purchase: Purchase, seen: Seen, market: Market, agreed: Terms | None, order_id: UUID
    ) -> None:
        """Have the order buy what is in the cart, if that is what was *seen*.

        Of two who check out at once, one has the cart's lock first. The other then finds either that the first one's
        order may still become certain, or the cart without what it has bought.
        """
        cart = await cart_store.lock_cart(tx, purchase.user_id)
        buyer = await store.find_order(tx, cart.order_id) if cart.order_id else None
        if buyer and buyer.state is State.PENDING:
            violation = Violation("expectedLines", f"are being bought by order {buyer.order_id}")
            raise CartChanged([violation], order_id=str(buyer.order_id))
        if not cart.items:
            raise CartEmpty
        total = agreed.total if agreed else None
        if violations := list(differences(purchase.lines, seen, cart, market.offers, total)):
            raise CartChanged(violations)
        await cart_store.note_order(tx, purchase.user_id, order_id)

    async def _claim(self, tx: Transaction, purchase: Purchase, order_id: UUID) -> UUID | None:
        """Note that the request places *order_id*; return the order that it has placed instead, if it has."""
        ours = Placement(order_id, purchase.fingerprint)
        theirs: Placement | None = None
        while theirs is None:  # again where it was forgotten between the two
            if await store.add_placement(tx, purchase.user_id, purchase.request_id, ours):
                return None
            theirs = await store.lock_placement(tx, purchase.user_id, purchase.request_id)
        order = await store.find_order(tx, theirs.order_id)
        assert order is not None, "a placement is committed with its order"
        joined = _joined(purchase, theirs, order)
        if joined is None:
            await store.replace_placement(tx, purchase.user_id, purchase.request_id, ours)
        return joined

    async def _decided(self, order_id: UUID, *, until: float) -> tuple[Order, Failure | None]:
        """Return the order once it is known whether it can be had, or as it is at *until*; and why not, where not."""
        failure: Failure | None = None
        with suppress(SagaNotFound):  # it was over so long ago that it is forgotten
            failure = (await self._sagas.runner.run(order_id, until=until)).failure
        return await store.get_order(self._database, order_id), failure

    async def _left(self, order: Order, state: State, *, until: float) -> Order:
        """Return the order once it is no longer in *state*, or as it is at *until*."""
        loop = asyncio.get_running_loop()
        with self._changes.watching(order.order_id) as watcher:
            while True:
                order = await store.get_order(self._database, order.order_id)
                remaining_s = until - loop.time()
                if order.state is not state or remaining_s <= 0:
                    return order
                await watcher.changed(timeout_s=min(remaining_s, LOOK_AGAIN_S))

    async def _ask(self, purchase: Purchase) -> Market:
        """Return what a user who may buy, and can be sent it, is offered of what they ask for, asking all at once.

        Raises:
            CartEmpty: it is what is in their cart, and nothing is.
        """
        product_ids: Sequence[UUID] = [line.product_id for line in purchase.lines]
        if purchase.seen:
            product_ids = (await cart_store.get_cart(self._database, purchase.user_id)).product_ids
            if not product_ids:
                raise CartEmpty
        units = sum(line.quantity for line in purchase.lines)
        country_code = purchase.destination.country_code
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._buyers.require_active(purchase.user_id))
                shipping = group.create_task(self._shipping.quote(country_code, units))
                offers = group.create_task(self._offers.find(product_ids))
        except* ServiceError as errors:
            raise errors.exceptions[0] from None
        return Market(offers.result(), shipping.result())


def _joined(purchase: Purchase, placement: Placement, order: Order) -> UUID | None:
    """Return the order to join, or None where it was refused, and the request may place another.

    Raises:
        RequestIdReused: it was placed by a request for something else.
    """
    if order.may_be_tried_again:
        return None
    if placement.fingerprint != purchase.fingerprint:
        raise RequestIdReused(
            "this request_id was used for a different request; use a new one", reason="REQUEST_ID_REUSED"
        )
    return placement.order_id
