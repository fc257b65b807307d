"""Whatever is asked for, in whatever order, the books are those of a shop that counts by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.mesh.services.calls import outcome
from tests.mesh.services.inventory.parts import Inventory

if TYPE_CHECKING:
    from tests.mesh.services.inventory.parts import Units

SKUS = ("MUG", "POT")
ORDERS = 4


class Operation(NamedTuple):
    """One thing asked for, and what it is about where it is about that: the number of an order, lines, a SKU."""

    name: str
    order: int
    lines: Mapping[str, int]
    sku: str
    delta: int


OPERATIONS = st.builds(
    Operation,
    st.sampled_from(["reserve", "reserve", "release", "commit", "adjust", "let_expire", "sweep"]),
    st.integers(0, ORDERS - 1),
    st.dictionaries(st.sampled_from(SKUS), st.integers(1, 6), min_size=1),
    st.sampled_from(SKUS),
    st.integers(-8, 8),
)


@dataclass
class Shelf:
    """A shop that counts by hand: one order after the other, with no states but what it remembers of each."""

    on_hand: dict[str, int] = field(default_factory=dict)
    lines: dict[int, Mapping[str, int]] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    overdue: set[int] = field(default_factory=set)
    expired: set[int] = field(default_factory=set)
    sold: set[int] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)

    def take(self, lines: Mapping[str, int]) -> bool:
        if any(self.on_hand.get(sku, 0) < quantity for sku, quantity in lines.items()):
            return False
        for sku, quantity in lines.items():
            self.on_hand[sku] -= quantity
        return True

    def put_back(self, order: int) -> None:
        for sku, quantity in self.lines[order].items():
            self.on_hand[sku] += quantity

    def reserve(self, operation: Operation) -> str:
        order = operation.order
        if order in self.closed | self.expired | (self.overdue & self.held):
            return "RESERVATION_CLOSED"
        if order in self.held | self.sold:
            return "done" if self.lines[order] == operation.lines else "RESERVATION_DIFFERS"
        if not self.take(operation.lines):
            return "INSUFFICIENT_STOCK"
        self.lines[order] = operation.lines
        self.held.add(order)
        return "done"

    def release(self, operation: Operation) -> str:
        if operation.order in self.held | self.sold:
            self.put_back(operation.order)
        for orders in (self.held, self.sold, self.expired):
            orders.discard(operation.order)
        self.closed.add(operation.order)
        return "done"

    def commit(self, operation: Operation) -> str:
        order = operation.order
        if order in self.closed:
            return "RESERVATION_CLOSED"
        if order in self.expired and not self.take(self.lines[order]):
            return "INSUFFICIENT_STOCK"
        if order not in self.lines:
            return "RESERVATION_NOT_FOUND"
        self.held.discard(order)
        self.expired.discard(order)
        self.sold.add(order)
        return "done"

    def adjust(self, operation: Operation) -> str:
        if self.on_hand.get(operation.sku, 0) + operation.delta < 0:
            return "INSUFFICIENT_STOCK"
        self.on_hand[operation.sku] = self.on_hand.get(operation.sku, 0) + operation.delta
        return "done"

    def let_expire(self, _: Operation) -> str:
        self.overdue |= self.held
        return "done"

    def sweep(self, _: Operation) -> str:
        for order in self.held & self.overdue:
            self.put_back(order)
        self.expired |= self.held & self.overdue
        self.held -= self.overdue
        return "done"

    def units(self, sku: str) -> Units:
        held = sum(self.lines[order].get(sku, 0) for order in self.held)
        sold = sum(self.lines[order].get(sku, 0) for order in self.sold)
        return self.on_hand[sku], held, sold


def call(inventory: Inventory, operation: Operation, order_id: str) -> Awaitable[Any]:
    calls: Mapping[str, Callable[[], Awaitable[Any]]] = {
        "reserve": lambda: inventory.reserve(order_id, **operation.lines),
        "release": lambda: inventory.release(order_id),
        "commit": lambda: inventory.commit(order_id),
        "adjust": lambda: inventory.adjust(operation.sku, operation.delta),
        "let_expire": inventory.let_expire,
        "sweep": lambda: inventory.stockroom.expire(limit=100),
    }
    return calls[operation.name]()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATIONS, max_size=25))
async def test_the_books_are_those_of_a_shop_that_counts_by_hand(
    inventory: Inventory, operations: list[Operation]
) -> None:
    await inventory.run("truncate stock, reservations, stock_changes, outbox")
    shelf = Shelf()
    order_ids = [str(uuid4()) for _ in range(ORDERS)]
    for sku in SKUS:
        await inventory.adjust(sku, 10)
        shelf.on_hand[sku] = 10

    for operation in operations:
        note(str(operation))
        expected = getattr(shelf, operation.name)(operation)
        seen = await outcome(call(inventory, operation, order_ids[operation.order]))
        assert (seen if isinstance(seen, str) else "done") == expected

    for sku in SKUS:
        assert await inventory.units(sku) == shelf.units(sku)
    await inventory.balance()
