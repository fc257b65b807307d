"""Orders as they are looked for, and the read models that they are found in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop.orders.v1 import orders_pb2 as pb
from sqlalchemy import text

import services
from services.orders import projections, queries, store
from services.orders.domain import Order
from services.orders.events import (
    Address,
    CancellationRefused,
    CancellationRequested,
    Cancelled,
    Confirmed,
    Delivered,
    Event,
    Line,
    Placed,
    Returned,
    Shipped,
    Tax,
)
from services.orders.journal import Journal
from services.orders.money import Money
from services.orders.projections import rebuild
from services.orders.queries import Search
from services.orders.refusals import CancelledByUser, IllegalTransition, OrderNotFound
from tests.mesh.services.calls import Calls, refusal
from tests.mesh.services.orders_parts import Shop
from weft.data import Database
from weft.data.migrate import migrate
from weft.data.postgres import EmbeddedPostgres
from weft.events.outbox import Outbox

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOME = Address(recipient="Ada", street_lines=("1 Street", "Flat 2"), postal_code="", city="London", country_code="GB")
EVENTS: list[Event] = [
    Confirmed(),
    CancellationRequested("CANCELLED_BY_USER"),
    CancellationRefused("SHIPMENT_DISPATCHED"),
    Cancelled("PAYMENT_DECLINED"),
    Shipped(),
    Delivered(),
    Returned(),
]
JOURNAL = Journal(Outbox("orders"))
SHIPPING = Money("EUR", 4, 900_000_000)
TAXES = (
    Tax(rate_percent="19", gross=Money("EUR", 6, 900_000_000), tax=Money("EUR", 1, 100_000_000)),
    Tax(rate_percent="5.5", gross=Money("EUR", 2, 0), tax=Money("EUR", 0, 100_000_000)),
)


@pytest.fixture(name="database")
async def _database(empty_database: Callable[[str], Awaitable[Database]]) -> Database:
    return await empty_database("orders")


def placed(user_id: str = "ada", *, lines: int = 2) -> Placed:
    bought = [
        Line(
            product_id=UUID(int=number + 1),
            sku=f"SKU-{number}",
            name=f"Thing {number}",
            unit_price=Money("EUR", number, 990_000_000),
            quantity=number + 1,
        )
        for number in range(lines)
    ]
    return Placed(user_id=user_id, lines=tuple(bought), destination=HOME, shipping=SHIPPING, taxes=TAXES)


async def begin(database: Database, event: Placed | None = None, *, now: datetime = NOW) -> UUID:
    order_id = uuid4()
    async with database.transaction() as tx:
        await JOURNAL.begin(tx, order_id, event or placed(), now=now)
    return order_id


async def happens(database: Database, order_id: UUID, *events: Event, now: datetime = NOW) -> None:
    """Let *events* happen, those that may."""
    for number, event in enumerate(events):
        try:
            async with database.transaction() as tx:
                await JOURNAL.change(tx, order_id, event, now=now + timedelta(seconds=number))
        except (IllegalTransition, CancelledByUser):
            continue


async def everything(database: Database) -> list[Order]:
    """Return all orders as they are read."""
    return await queries.list_page(database, Search(), 10_000, None)


async def rows(database: Database) -> list[Any]:
    async with database.transaction() as tx:
        orders = await tx.all(text("select * from orders order by order_id"))
        lines = await tx.all(text("select * from order_lines order by order_id, position"))
    return [*map(tuple, orders), *map(tuple, lines)]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(histories=st.lists(st.lists(st.sampled_from(EVENTS), max_size=8), min_size=1, max_size=4))
async def test_what_is_read_is_what_the_histories_say_and_a_rebuild_changes_nothing(
    database: Database, histories: list[list[Event]]
) -> None:
    ids = [await begin(database, placed(lines=1 + len(history) % 3)) for history in histories]
    for order_id, history in zip(ids, histories, strict=True):
        await happens(database, order_id, *history)
    live = await rows(database)

    counts = [done async for done in rebuild(database)]

    assert counts[-1] >= len(ids)
    assert await rows(database) == live
    for order in await everything(database):
        assert order == await store.get_order(database, order.order_id)


async def test_a_rebuild_mends_what_is_wrong_missing_or_too_much(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "BATCH", 3)
    ids = [await begin(database, now=NOW + timedelta(minutes=number)) for number in range(10)]
    for order_id in ids[::2]:
        await happens(database, order_id, Confirmed(), Shipped())
    right = await rows(database)
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "update orders set state = 'returned', version = 99, user_id = 'x', total_units = 0,"
                " shipping_units = 9, shipping_nanos = 9, taxes = '[]'"
            )
        )
        await tx.execute(text("update order_lines set quantity = 7, name = 'wrong'"))
        await tx.execute(text("delete from order_lines where position = 1"))
        await tx.execute(text(f"delete from orders where order_id in ('{ids[0]}', '{ids[5]}')"))
        await tx.execute(
            text("insert into orders select gen_random_uuid(), user_id, state, currency, 1, 0, create_time,"
                 " update_time, null, '', null, 1 from orders limit 2")
        )  # fmt: skip

    counts = [done async for done in rebuild(database)]

    assert counts == [3, 6, 9, 10]
    assert await rows(database) == right


async def test_a_rebuild_runs_beside_live_traffic(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "BATCH", 4)
    ids = [await begin(database) for _ in range(30)]
    over = asyncio.Event()

    async def traffic(seed: int) -> None:
        random = Random(seed)
        while not over.is_set():
            if random.random() < 0.3:
                ids.append(await begin(database))
            await happens(database, random.choice(ids), random.choice(EVENTS))

    async def reading() -> None:
        while not over.is_set():
            assert (await queries.get_order(database, str(ids[0]), "ada")).lines

    tasks = [asyncio.create_task(traffic(1)), asyncio.create_task(traffic(2)), asyncio.create_task(reading())]
    for _ in range(3):
        assert [done async for done in rebuild(database)][-1] >= 30
    over.set()
    await asyncio.gather(*tasks)

    live = await rows(database)
    assert [done async for done in rebuild(database)][-1] == len(ids)
    assert await rows(database) == live
    for order in await everything(database):
        assert order == await store.get_order(database, order.order_id)


async def test_two_rebuilds_at_once_are_as_good_as_one(database: Database) -> None:
    for _ in range(5):
        await happens(database, await begin(database), Confirmed())
    right = await rows(database)

    async def run() -> int:
        return [done async for done in rebuild(database)][-1]

    assert list(await asyncio.gather(run(), run())) == [5, 5]
    assert await rows(database) == right


async def test_a_rebuild_of_nothing_is_nothing(database: Database) -> None:
    assert [done async for done in rebuild(database)] == []


async def test_of_two_changes_at_once_the_second_is_decided_on_the_first(database: Database) -> None:
    order_id = await begin(database)
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def first() -> None:
        async with database.transaction() as tx:
            await JOURNAL.change(tx, order_id, CancellationRequested("CANCELLED_BY_USER"), now=NOW)
            begun.set()
            await go_on.wait()

    async def second() -> None:
        await begun.wait()
        async with database.transaction() as tx:
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            await JOURNAL.change(tx, order_id, Confirmed(), now=NOW)

    confirming = asyncio.create_task(second())
    await asyncio.gather(first(), asyncio.wait([confirming]))

    assert isinstance(confirming.exception(), CancelledByUser)
    assert (await store.get_order(database, order_id)).version == 2


async def test_a_change_of_an_order_that_is_not_there_is_refused(database: Database) -> None:
    with pytest.raises(OrderNotFound):
        async with database.transaction() as tx:
            await JOURNAL.change(tx, uuid4(), Confirmed(), now=NOW)


async def test_clocks_that_differ_do_not_turn_time_back(database: Database) -> None:
    order_id = await begin(database, now=NOW)

    await happens(database, order_id, Confirmed(), now=NOW - timedelta(hours=1))

    order = await store.get_order(database, order_id)
    assert order.create_time == order.update_time == order.confirm_time == NOW


async def _given_orders(database: Database) -> list[tuple[str, str, datetime]]:
    """Make orders of two users in three states, one a minute; return user, state and time of each, newest first."""
    made = []
    states: dict[str, list[Event]] = {"PENDING": [], "CONFIRMED": [Confirmed()], "SHIPPED": [Confirmed(), Shipped()]}
    for number, (user_id, state) in enumerate([*product(("ada", "bob"), states)] * 2):
        time = NOW + timedelta(minutes=number)
        await happens(database, await begin(database, placed(user_id), now=time), *states[state], now=time)
        made.append((user_id, state, time))
    return made[::-1]


def _stamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


async def search(admin: Calls, **wanted: Any) -> list[pb.Order]:
    """Return all pages of a search."""
    found: list[pb.Order] = []
    token = ""
    while True:
        page = await admin.SearchOrders(pb.SearchOrdersRequest(page_token=token, **({"page_size": 2} | wanted)))
        found += page.orders
        token = page.next_page_token
        if not token:
            return found


async def test_an_administrator_finds_orders_by_any_combination_of_filters(shop: Shop) -> None:
    made = await _given_orders(shop.database)
    admin = shop.as_user("root", "user", "admin")
    begin_time, end_time = NOW + timedelta(minutes=2), NOW + timedelta(minutes=9)

    for user_id, state, first, last in product(("", "ada"), ("", "SHIPPED"), (None, begin_time), (None, end_time)):
        wanted: dict[str, Any] = {"user_id": user_id}
        if state:
            wanted["state"] = pb.Order.State.Value(f"STATE_{state}")
        if first:
            wanted["create_time_from"] = _stamp(first)
        if last:
            wanted["create_time_to"] = _stamp(last)

        found = await search(admin, **wanted)

        assert [
            (order.user_id, pb.Order.State.Name(order.state).removeprefix("STATE_"), order.create_time.ToDatetime(UTC))
            for order in found
        ] == [
            (user, is_in, time)
            for user, is_in, time in made
            if user_id in ("", user)
            and state in ("", is_in)
            and (first is None or time >= first)
            and (last is None or time < last)
        ]


async def test_a_search_is_exact_to_the_instant_and_takes_any_instant(shop: Shop) -> None:
    await begin(shop.database, now=NOW)
    admin = shop.as_user("root", "user", "admin")
    just_after = Timestamp(seconds=int(NOW.timestamp()), nanos=1)

    assert len(await search(admin, create_time_from=_stamp(NOW))) == 1
    assert len(await search(admin, create_time_from=just_after)) == 0
    assert len(await search(admin, create_time_to=_stamp(NOW))) == 0
    assert len(await search(admin, create_time_to=just_after)) == 1
    for far in (-(2**62), 2**62):
        await search(admin, create_time_from=Timestamp(seconds=far), create_time_to=Timestamp(seconds=far))


async def test_a_page_of_one_search_is_none_of_another(shop: Shop) -> None:
    await _given_orders(shop.database)
    admin = shop.as_user("root", "user", "admin")
    token = (await admin.SearchOrders(pb.SearchOrdersRequest(page_size=1, user_id="ada"))).next_page_token

    error = await refusal(admin.SearchOrders(pb.SearchOrdersRequest(page_size=1, user_id="bob", page_token=token)))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_only_administrators_search_and_elsewhere_they_see_their_own(shop: Shop) -> None:
    order_id = await begin(shop.database, placed(shop.user_id))
    admin = shop.as_user("root", "user", "admin")

    error = await refusal(shop.me.SearchOrders(pb.SearchOrdersRequest()))

    assert error.code == "PERMISSION_DENIED"
    assert [order.order_id for order in await search(admin)] == [str(order_id)]
    assert (await admin.ListOrders(pb.ListOrdersRequest())).orders == []
    assert (await refusal(admin.GetOrder(pb.GetOrderRequest(order_id=str(order_id))))).reason == "ORDER_NOT_FOUND"


async def test_orders_from_before_get_their_histories(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    url = postgres.ensure_database(f"orders_{uuid4().hex}")
    migrations = Path(services.__path__[0]) / "orders" / "migrations" / "versions"
    old = tmp_path / "versions"
    old.mkdir()
    (old / "0001_orders.py").write_text((migrations / "0001_orders.py").read_text())
    await asyncio.to_thread(migrate, url, tmp_path)
    confirmed, cancelled = uuid4(), uuid4()
    async with Database.open(url) as database, database.transaction() as tx:
        for order_id, state, day in ((confirmed, "confirmed", 1), (cancelled, "cancelled", 2)):
            await tx.execute(
                text(
                    f"insert into orders values ('{order_id}', 'ada', '{state}', 'EUR', 33, 980000001,"
                    f" '2026-01-01 10:00Z', '2026-01-0{day} 10:00Z')"
                )
            )
            await tx.execute(
                text(
                    "insert into order_lines values"
                    f" ('{order_id}', 0, '{UUID(int=1)}', 'MUG', 'A \"mug\"', 14, 990000000, 2),"
                    f" ('{order_id}', 1, '{UUID(int=2)}', 'POT', 'Pot', 4, 1, 1)"
                )
            )

    await asyncio.to_thread(migrate, url, migrations.parent)

    async with Database.open(url) as database:
        read = {order.order_id: order for order in await everything(database)}
        histories = {order_id: await store.get_order(database, order_id) for order_id in read}
        live = await rows(database)
        assert [done async for done in rebuild(database)] == [2]
        assert await rows(database) == live
    assert read == histories
    assert set(read) == {confirmed, cancelled}
    was, off = read[confirmed], read[cancelled]
    assert (was.state, was.cancel_reason, was.total) == ("confirmed", "", ("EUR", 33, 980000001))
    assert (was.shipping, was.taxes) == (("EUR", 0, 0), ())
    assert (off.state, off.cancel_reason) == ("cancelled", "CANCELLED_BY_USER")
    assert [(line.name, line.quantity, line.total) for line in was.lines] == [
        ('A "mug"', 2, ("EUR", 29, 980000000)),
        ("Pot", 1, ("EUR", 4, 1)),
    ]
    assert off.create_time == off.confirm_time == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert off.update_time == datetime(2026, 1, 2, 10, tzinfo=UTC)
    assert (was.destination, was.version, off.version) == (None, 2, 4)


async def test_an_order_from_before_sending_was_charged_costs_what_it_cost(database: Database) -> None:
    order_id = await begin(database, replace(placed(), shipping=None, taxes=()))
    async with database.transaction() as tx:
        await tx.execute(text("update order_events set data = data - 'shipping' - 'taxes'"))
    live = await rows(database)

    assert [done async for done in rebuild(database)] == [1]

    assert await rows(database) == live
    read = await queries.get_order(database, str(order_id), "ada")
    assert (read.shipping, read.taxes) == (("EUR", 0, 0), ())
    assert read.total == ("EUR", 0 * 1 + 1 * 2 + 2, 970_000_000)
    assert read == await store.get_order(database, order_id)


async def test_an_order_from_before_there_were_payments_can_be_called_off(shop: Shop) -> None:
    event = placed(shop.user_id)
    old = Placed(user_id=event.user_id, lines=event.lines, destination=None, shipping=None, taxes=())
    order_id = await begin(shop.database, old)
    await happens(shop.database, order_id, Confirmed())

    order = (await shop.me.CancelOrder(pb.CancelOrderRequest(order_id=str(order_id)))).order

    assert order.state == pb.Order.STATE_CANCELLED
    assert not order.HasField("destination")
    assert shop.fulfilment.of(str(order_id)) == ("released", None, "cancelled")
