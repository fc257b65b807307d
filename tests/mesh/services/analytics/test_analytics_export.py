"""What analytics says it holds about somebody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shop.analytics.v1 import analytics_pb2 as pb
from shop.analytics.v1 import analytics_pb2_grpc

from services.analytics import behaviour_store, purchases
from services.analytics.hearing import handlers
from services.exporting import EXPORT_PAGE
from tests.mesh.services.analytics.parts import at, confirmed, offered, order_id
from tests.mesh.services.analytics.test_analytics_behaviour import ADDED, SEARCHED, record, seen, stamp
from tests.mesh.services.calls import Calls, euros, refusal
from tests.mesh.services.forgetting import deleted, exported, hear
from tests.mesh.services.test_statements import filled, plan

if TYPE_CHECKING:
    from tests.mesh.services.analytics.parts import Analytics


async def export(analytics: Analytics, user_id: str) -> list[Any]:
    stub = analytics_pb2_grpc.AnalyticsServiceStub(analytics.server.channel)
    users = Calls(stub, analytics.server.service_token("users"))
    return await exported(users, pb.ExportUserDataRequest(user_id=user_id), pb.Behaviour, pb.SoldLine)


async def test_what_they_did_and_then_what_they_bought_is_exported_newest_first(analytics: Analytics) -> None:
    ada, now = str(uuid4()), int(datetime.now(UTC).timestamp())
    done = [
        seen(ada, kind, time=stamp(datetime.fromtimestamp(now - 60 * minute, UTC)))
        for minute, kind in enumerate((ADDED, SEARCHED))
    ]
    await record(analytics, *done, seen("v-1"))
    await analytics.intake.flush()
    await analytics.hear(
        offered("2026-02-01T00:00", "MUG", "kitchen", "Mug, blue"),
        confirmed("2026-03-01T10:00", {"MUG": (2, "14.50"), "PEN": (1, "0.99")}, user_id=ada, order=order_id("a")),
        confirmed("2026-03-02T10:00", {"MUG": (1, "15.00")}, user_id=ada, order=order_id("b")),
        confirmed("2026-03-03T10:00", {"MUG": (1, "15.00")}, user_id=str(uuid4())),
    )

    found = await export(analytics, ada.upper())

    assert found[:2] == done
    first, second = stamp(at("2026-03-01T10:00")), stamp(at("2026-03-02T10:00"))
    mug = {"sku": "MUG", "name": "Mug, blue", "category": "kitchen"}
    assert found[2:] == [
        pb.SoldLine(order_id=order_id("b"), confirm_time=second, **mug, quantity=1, unit_price=euros("15.00")),
        pb.SoldLine(order_id=order_id("a"), confirm_time=first, **mug, quantity=2, unit_price=euros("14.50")),
        pb.SoldLine(order_id=order_id("a"), confirm_time=first, sku="PEN", quantity=1, unit_price=euros("0.99")),
    ]


async def test_what_was_done_is_not_exported_of_somebody_forgotten_and_nothing_of_somebody_unknown(
    analytics: Analytics,
) -> None:
    """Sales stay under a number that leads to nobody: whoever has it still gets to see what is held under it."""
    ada = str(uuid4())
    await record(analytics, seen(ada))
    await analytics.intake.flush()
    await analytics.hear(confirmed("2026-03-01T10:00", {"MUG": (2, "14.50")}, user_id=ada))

    await hear(analytics.database, handlers("EUR"), deleted(ada))

    assert [type(each) for each in await export(analytics, ada)] == [pb.SoldLine]
    assert await export(analytics, str(uuid4())) == []


async def test_only_users_may_ask(analytics: Analytics) -> None:
    for calls in (analytics.somebody, analytics.admin, analytics.anybody):
        stream = calls.ExportUserData(pb.ExportUserDataRequest(user_id=str(uuid4())))
        assert (await refusal(stream.read())).code in {"PERMISSION_DENIED", "UNAUTHENTICATED"}


async def test_thousands_are_exported_in_pages_each_once_and_read_from_their_indexes(analytics: Analytics) -> None:
    ada = str(uuid4())
    await filled(
        analytics.database,
        f"""
        insert into behaviour
        select gen_random_uuid(), 'viewed', case when n % 2 = 0 then '{ada}' else 'v' || n % 50 end, null,
               now() - n / 7 * interval '1 minute'
        from generate_series(1, 5000) n
        """,
        f"""
        insert into purchases
        select gen_random_uuid(), case when n % 2 = 0 then '{ada}' else 'u' || n % 50 end,
               now() - n / 7 * interval '1 minute', null, false, false
        from generate_series(1, 2000) n
        """,
        """
        insert into sold_lines
        select order_id, n, time, 'SKU-' || n, '', '', 1, 9.99 from purchases, generate_series(0, 2) n
        """,
    )

    found = await export(analytics, ada)

    done = [each for each in found if isinstance(each, pb.Behaviour)]
    lines = [each for each in found if isinstance(each, pb.SoldLine)]
    assert len(done) == len({each.event_id for each in done}) == 2500 > 10 * EXPORT_PAGE
    assert len(lines) == len({(each.order_id, each.sku) for each in lines}) == 3000
    for times in ([each.time for each in done], [each.confirm_time for each in lines]):
        moments = [each.ToDatetime(UTC) for each in times]
        assert moments == sorted(moments, reverse=True)
    after = {"time": datetime.now(UTC), "limit": EXPORT_PAGE}
    for statement, index, values in (
        (behaviour_store._FIRST_PAGE, "behaviour_by_visitor", {"visitor_id": "v7", "limit": EXPORT_PAGE}),
        (behaviour_store._NEXT_PAGE, "behaviour_by_visitor", {"visitor_id": "v7", "event_id": uuid4(), **after}),
        (purchases._FIRST_PAGE, "purchases_by_user", {"user_id": "u7", "limit": EXPORT_PAGE}),
        (
            purchases._NEXT_PAGE,
            "purchases_by_user",
            {"user_id": "u7", "order_id": uuid4(), "position": 1, **after},
        ),
    ):
        assert index in await plan(analytics.database, statement, **values)
