"""Analytics at work for tests, and what it should say, reckoned from the events alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from google.type.money_pb2 import Money
from shop.analytics.v1 import analytics_pb2 as pb
from shop.analytics.v1 import analytics_pb2_grpc
from shop.catalog.v1 import events_pb2 as catalog
from shop.orders.v1 import events_pb2 as orders
from shop.payments.v1 import events_pb2 as payments
from sqlalchemy import text

from services.analytics.hearing import handlers
from tests.mesh.services.calls import Calls, euros
from weft.events import Received

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from services.analytics.intake import Intake
    from weft.data import Database
    from weft.testing import TestServer

NAME = "shop.analytics.v1.AnalyticsService"
SUBJECTS = {"orders": "order_id", "payments": "order_id", "catalog": "product_id"}


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def order_id(name: str) -> str:
    """Return the id of an order that a test calls *name*."""
    return str(uuid5(NAMESPACE_OID, name))


def happened(event: Message, moment: str, sequence: int = 1) -> Received[Any]:
    """Return *event* as it is heard."""
    source = event.DESCRIPTOR.full_name.split(".")[1]
    return Received(
        id=str(uuid4()),
        type=event.DESCRIPTOR.full_name,
        source=source,
        subject=getattr(event, SUBJECTS[source]),
        sequence=sequence,
        time=at(moment),
        attempt=1,
        event=event,
    )


def confirmed(
    moment: str, lines: Mapping[str, tuple[int, str | Money]], *, user_id: str = "ada", order: str | None = None
) -> Received[Any]:
    """Return that somebody bought *lines*: SKU -> how many at which price."""
    bought = [
        orders.OrderedLine(product_id=order_id(sku), sku=sku, quantity=quantity, unit_price=_money(price))
        for sku, (quantity, price) in lines.items()
    ]
    event = orders.OrderConfirmed(
        order_id=order or str(uuid4()),
        user_id=user_id,
        lines=bought,
        total=bought[0].unit_price if bought else euros("0"),
    )
    return happened(event, moment)


def offered(moment: str, sku: str, category: str, name: str = "", sequence: int = 1) -> Received[Any]:
    event = catalog.ProductOffered(product_id=order_id(sku), sku=sku, name=name or sku.title(), category=category)
    return happened(event, moment, sequence)


def captured(moment: str, amount: str | Money) -> Received[Any]:
    return happened(payments.PaymentCaptured(order_id=str(uuid4()), amount=_money(amount)), moment)


def refunded(moment: str, amount: str | Money) -> Received[Any]:
    return happened(payments.PaymentRefunded(order_id=str(uuid4()), amount=_money(amount)), moment)


def _money(amount: str | Money) -> Money:
    return euros(amount) if isinstance(amount, str) else amount


@dataclass(frozen=True, kw_only=True)
class Analytics:
    """One replica of analytics at work. What shoppers did is written when a test says so."""

    server: TestServer
    database: Database
    intake: Intake

    @property
    def admin(self) -> Calls:
        return Calls(self._stub, self.server.token("root", ("user", "admin")))

    @property
    def somebody(self) -> Calls:
        return Calls(self._stub, self.server.token("ada"))

    @property
    def anybody(self) -> Calls:
        return Calls(self._stub)

    @property
    def _stub(self) -> analytics_pb2_grpc.AnalyticsServiceStub:
        return analytics_pb2_grpc.AnalyticsServiceStub(self.server.channel)

    async def hear(self, *events: Received[Any]) -> None:
        """Apply *events* as a subscription does, each in a transaction of its own."""
        heard = handlers("EUR")
        for event in events:
            async with self.database.transaction() as tx:
                await heard[type(event.event)](tx, event)

    async def sales(
        self, first: str, last: str, group_by: str = "DAY", time_zone: str = ""
    ) -> pb.GetSalesReportResponse:
        request = pb.GetSalesReportRequest(
            from_date=first,
            to_date=last,
            time_zone=time_zone,
            group_by=pb.GetSalesReportRequest.GroupBy.Value(f"GROUP_BY_{group_by}"),
        )
        return await self.admin.GetSalesReport(request)  # type: ignore[no-any-return]  # stubs of tests are untyped

    async def rows(self, sql: str) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await tx.all(text(sql)))


def cents(money: Money) -> int:
    """Return a sum in euros as cents. It must be whole ones."""
    assert money.nanos % 10_000_000 == 0
    return int(money.units * 100 + money.nanos // 10_000_000)


async def read_models(database: Database) -> dict[str, list[Any]]:
    """Return all that is derived from the history, without rows that say nothing."""
    tables = {
        "offers": "",
        "purchases": "",
        "sold_lines": "",
        "sales": "",
        "sku_sales": "WHERE orders <> 0",
        "category_sales": "WHERE orders <> 0 OR units <> 0 OR revenue <> 0",
    }
    async with database.transaction() as tx:
        return {
            table: sorted(map(tuple, await tx.all(text(f"SELECT * FROM {table} {where}"))), key=repr)
            for table, where in tables.items()
        }


def reckoned(events: Iterable[Received[Any]]) -> dict[str, dict[Any, tuple[Any, ...]]]:
    """Return what the read models should say of *events*, the plain way: all of them are looked at for each number."""
    distinct = {event.id: event for event in events}.values()
    offers: dict[str, list[Received[Any]]] = defaultdict(list)
    for event in distinct:
        if isinstance(event.event, catalog.ProductOffered):
            offers[event.event.sku].append(event)

    def category(sku: str, time: datetime) -> str:
        known = sorted(offers[sku], key=lambda offer: (offer.time, offer.sequence))
        before = [offer for offer in known if offer.time <= time]
        chosen = before[-1:] or known[:1]
        return str(chosen[0].event.category) if chosen else ""

    lines = [
        (event.event.order_id, event.time, line.sku, category(line.sku, event.time), line.quantity, line.unit_price)
        for event in distinct
        if isinstance(event.event, orders.OrderConfirmed)
        for line in event.event.lines
    ]
    return {
        "sku": _summed((_slot(time), sku, order, quantity, price) for order, time, sku, _, quantity, price in lines),
        "category": _summed(
            (_slot(time), category, order, quantity, price) for order, time, _, category, quantity, price in lines
        ),
        "all": _summed((_slot(time), "", order, quantity, price) for order, time, _, _, quantity, price in lines),
    }


def _summed(rows: Iterable[tuple[datetime, str, str, int, Money]]) -> dict[Any, tuple[Any, ...]]:
    ids: dict[Any, set[str]] = defaultdict(set)
    units: dict[Any, int] = defaultdict(int)
    revenue: dict[Any, Decimal] = defaultdict(Decimal)
    for start, key, order, quantity, price in rows:
        ids[start, key].add(order)
        units[start, key] += quantity
        revenue[start, key] += quantity * (price.units + Decimal(price.nanos) / 10**9)
    return {each: (len(ids[each]), units[each], revenue[each]) for each in ids}


def _slot(time: datetime) -> datetime:
    return time.replace(minute=time.minute // 15 * 15, second=0, microsecond=0)


def as_uuid(name: str) -> UUID:
    return uuid5(NAMESPACE_OID, name)
