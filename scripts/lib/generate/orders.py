"""Years of sales as events and behaviour: the same for the same numbers, whatever the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from heapq import heappop, heappush
from itertools import accumulate
from random import Random
from typing import Any, Final
from uuid import UUID

from google.protobuf.message import Message
from google.type.money_pb2 import Money
from shop.catalog.v1 import events_pb2 as catalog
from shop.orders.v1 import events_pb2 as orders
from shop.payments.v1 import events_pb2 as payments

from services.analytics.domain import Behaviour, Kind
from services.analytics.history import Recorded

__all__ = ["History"]

CENT: Final = 10_000_000
"""In nanos."""
CATEGORIES: Final = 40
LONGEST_REFUND: Final = timedelta(days=30)
REFUNDED_SHARE: Final = 0.04
BUYING_SHARE: Final = 0.25
"""Of those who look at something."""
_SHIPPING: Final = 490


@dataclass(frozen=True, slots=True)
class _Product:
    product_id: str
    sku: str
    cents: int


@dataclass(frozen=True, kw_only=True)
class History:
    """What there is to make up."""

    seed: int
    count: int
    """Orders."""
    products: int
    """Of which a few sell most."""
    customers: int
    """Of whom a few buy most."""
    until: datetime
    """When the last of it happened."""
    days: int
    """Since the first of it."""

    def events(self) -> Iterator[Recorded]:
        """Yield offers, orders, payments and refunds, in the order in which they happened."""
        random = Random(self.seed)  # noqa: S311  # made up, not secret
        for number, product in enumerate(self._products):
            offered = catalog.ProductOffered(
                product_id=product.product_id,
                sku=product.sku,
                name=f"Thing {number}",
                category=f"category-{number % CATEGORIES}",
                price=_euros(product.cents),
            )
            yield _recorded(random, "catalog", product.product_id, number, self._start, offered)
        later: list[tuple[datetime, int, Recorded]] = []
        for number, time in enumerate(self._times):
            while later and later[0][0] <= time:
                yield heappop(later)[-1]
            order_id, user_id = str(_uuid(random)), self._user(random)
            lines = self._lines(random)
            total = _SHIPPING + sum(product.cents * quantity for product, quantity in lines)
            ordered = [
                orders.OrderedLine(
                    product_id=product.product_id,
                    sku=product.sku,
                    quantity=quantity,
                    unit_price=_euros(product.cents),
                )
                for product, quantity in lines
            ]
            confirmed = orders.OrderConfirmed(order_id=order_id, user_id=user_id, lines=ordered, total=_euros(total))
            yield _recorded(random, "orders", order_id, 3 * number, time, confirmed)
            captured = payments.PaymentCaptured(order_id=order_id, user_id=user_id, amount=_euros(total))
            moved: list[tuple[datetime, Message]] = [(time + timedelta(seconds=1), captured)]
            if random.random() < REFUNDED_SHARE:
                part = _euros(random.randint(1, total))
                refunded = payments.PaymentRefunded(order_id=order_id, user_id=user_id, amount=part, refunded=part)
                refund_time = time + random.random() * LONGEST_REFUND
                if refund_time < self.until:
                    moved.append((refund_time, refunded))
            for place, (then, event) in enumerate(moved, 1):
                number_ = 3 * number + place
                heappush(later, (then, number_, _recorded(random, "payments", order_id, number_, then, event)))
        while later:
            yield heappop(later)[-1]

    def behaviour(self) -> Iterator[Behaviour]:
        """Yield who looked at products and put some into a cart: those who then bought, and more who didn't."""
        random = Random(self.seed + 1)  # noqa: S311  # as above
        lookers = round(1 / BUYING_SHARE)
        for time in self._times:
            for looker in range(lookers):
                visitor_id, product = self._user(random), random.choice(self._products)
                kinds = (Kind.VIEWED, Kind.ADDED_TO_CART) if looker < lookers // 2 else (Kind.VIEWED,)
                for kind in kinds:
                    yield Behaviour(
                        event_id=_uuid(random),
                        kind=kind,
                        visitor_id=visitor_id,
                        product_id=UUID(product.product_id),
                        time=time - timedelta(minutes=random.randint(1, 60)),
                    )

    @property
    def _start(self) -> datetime:
        return self.until - timedelta(days=self.days)

    @cached_property
    def _times(self) -> list[datetime]:
        """When orders are confirmed: more by day than by night, and more at the end than in the beginning."""
        random, times = Random(self.seed + 2), list[datetime]()  # noqa: S311  # as above
        for _ in range(self.count):
            day = int(self.days * random.random() ** 0.7)
            minutes = min(1439.99, max(0.0, random.gauss(15 * 60, 4 * 60)))
            times.append(self._start + timedelta(days=day, minutes=minutes))
        return sorted(times)

    @cached_property
    def _products(self) -> Sequence[_Product]:
        random = Random(self.seed + 3)  # noqa: S311  # as above
        return [
            _Product(str(_uuid(random)), f"GEN-{number:06}", random.randint(99, 19_999))
            for number in range(self.products)
        ]

    @cached_property
    def _weights(self) -> list[float]:
        """How often which product is bought: Zipf's law, a little flatter."""
        return list(accumulate(1 / (number + 5) ** 0.8 for number in range(self.products)))

    def _lines(self, random: Random) -> list[tuple[_Product, int]]:
        most = min(self.products, random.choice((1, 1, 2, 2, 3, 4, 6)))
        chosen = dict.fromkeys(random.choices(range(self.products), cum_weights=self._weights, k=most))
        return [(self._products[number], random.choice((1, 1, 1, 2, 3))) for number in chosen]

    def _user(self, random: Random) -> str:
        return f"generated-{int(self.customers * random.random() ** 2)}"


def _recorded(random: Random, source: str, subject: str, sequence: int, time: datetime, event: Message) -> Recorded:
    descriptor: Any = event.DESCRIPTOR
    return Recorded(
        event_id=_uuid(random),
        type=descriptor.full_name,
        source=source,
        subject=subject,
        sequence=sequence,
        time=time.astimezone(UTC),
        data=event.SerializeToString(deterministic=True),
    )


def _uuid(random: Random) -> UUID:
    return UUID(int=random.getrandbits(128), version=4)


def _euros(cents: int) -> Money:
    return Money(currency_code="EUR", units=cents // 100, nanos=cents % 100 * CENT)
