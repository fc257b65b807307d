"""Numbers without gaps: many at once, rolled back, killed, and at the turn of the year."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.payments import invoice_store
from services.payments.invoices import Invoice, InvoiceNumber
from services.payments.messages import bill_of
from services.payments.money import Money
from tests.mesh.services.payments.parts import ROOT, SELLER
from tests.mesh.services.payments.requests import capture, part, void
from tests.mesh.services.payments.waiting import Eventually, repeated
from tests.mesh.services.test_statements import filled, plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.mesh.services.payments.parts import Payments, Simulator
    from weft.data import Database, Transaction

NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


async def issue(tx: Transaction, order_id: str, *, now: datetime, corrects: InvoiceNumber | None = None) -> Invoice:
    return await invoice_store.add_invoice(
        tx,
        bill_of(capture(order_id)),
        order_id=UUID(order_id),
        user_id="ada",
        total=Money("EUR", 1450),
        seller=SELLER,
        corrects=corrects,
        now=now,
    )


async def issued(database: Database) -> list[tuple[str, str, int, datetime]]:
    """Return kind, order, number and time of all that was issued, by number."""
    async with database.transaction() as tx:
        rows = await tx.all(
            text("select kind, order_id::text, ordinal, issue_time from invoices order by year, ordinal")
        )
    return [tuple(row) for row in rows]


def assert_without_gaps(found: list[tuple[str, str, int, datetime]]) -> None:
    assert [ordinal for _, _, ordinal, _ in found] == list(range(1, len(found) + 1))
    assert [time for *_, time in found] == sorted(time for *_, time in found)


async def test_fifty_captures_and_their_refunds_at_once_leave_no_gap(
    payments: Payments, another_replica: Callable[[], Any]
) -> None:
    order_ids = [await payments.authorized() for _ in range(50)]
    go = asyncio.Event()

    async def buy_and_return(replica: Payments, order_id: str) -> None:
        await go.wait()
        await repeated(lambda: replica.orders.CapturePayment(capture(order_id)))
        await repeated(lambda: replica.admin.RefundPart(part(order_id, "1.50", f"r-{order_id}")))

    async with another_replica() as other:
        lives = [
            asyncio.create_task(buy_and_return(replica, order_id))
            for replica, order_id in zip([payments, other] * 25, order_ids, strict=True)
        ]
        go.set()
        await asyncio.gather(*lives)

    found = await issued(payments.database)
    assert_without_gaps(found)
    assert sorted(order_id for kind, order_id, *_ in found if kind == "invoice") == sorted(order_ids)
    assert sorted(order_id for kind, order_id, *_ in found if kind == "credit_note") == sorted(order_ids)


async def test_replicas_killed_while_they_capture_leave_no_gap_and_nothing_without_an_invoice(
    payments: Payments, simulator: Simulator, database_url: Callable[[str], str]
) -> None:
    order_ids = [await payments.authorized() for _ in range(50)]
    random = Random(4)

    for _ in range(4):
        doomed = capturing(database_url("payments"), simulator.url, order_ids)
        await asyncio.to_thread(wait_for, doomed, lines=random.randrange(1, 8))
        doomed.kill()
        doomed.communicate()
    async with payments.database.transaction() as tx:
        half_done = await tx.scalar(text("select count(*) from payments where state = 'captured'"))
    for _ in range(3):
        await payments.settle()
        for order_id in order_ids:
            await repeated(lambda order_id=order_id: payments.orders.CapturePayment(capture(order_id)))  # type: ignore[misc]

    found = await issued(payments.database)
    assert 0 < half_done < 50
    assert_without_gaps(found)
    assert sorted(order_id for _, order_id, *_ in found) == sorted(order_ids)
    assert {(await simulator.account(order_id))["captured"] for order_id in order_ids} == {1450}


async def test_a_number_that_was_taken_in_vain_is_given_to_the_next(payments: Payments) -> None:
    first, second = await payments.authorized(), await payments.authorized()
    now = datetime.now(UTC)

    async def fail() -> None:
        async with payments.database.transaction() as tx:
            await issue(tx, first, now=now)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with payments.database.transaction() as tx:
        invoice = await issue(tx, second, now=now)

    assert invoice.number == InvoiceNumber(now.year, 1)


async def test_a_number_is_the_last_that_a_transaction_waits_for(payments: Payments, eventually: Eventually) -> None:
    await payments.captured()
    order_ids = [await payments.authorized() for _ in range(3)]

    async def waiting() -> list[str]:
        async with payments.database.transaction() as tx:
            locked = (
                "select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            )
            return [query for (query,) in await tx.all(text(locked))]

    async def is_one_waiting() -> bool:
        return bool(await asyncio.create_task(waiting()))  # for this one has a transaction open

    async with payments.database.transaction() as slow:
        await slow.execute(text("select 1 from invoice_numbers for update"))
        captures = [payments.orders.CapturePayment(capture(order_id)) for order_id in order_ids[:2]]
        await eventually(is_one_waiting)
        queries = await asyncio.create_task(waiting())
        await payments.orders.VoidPayment(void(order_ids[2]))  # needs no number, so waits for none
    await asyncio.gather(*captures)

    assert all(query.startswith("WITH taken AS") and "INSERT INTO invoices" in query for query in queries)
    assert_without_gaps(await issued(payments.database))


async def test_each_year_counts_from_one_by_the_time_of_issue_in_utc(payments: Payments) -> None:
    order_ids = [await payments.authorized() for _ in range(4)]
    times = [NEW_YEAR - timedelta(microseconds=1), NEW_YEAR, NEW_YEAR - timedelta(seconds=1), NEW_YEAR]

    invoices = []
    for order_id, time in zip(order_ids, times, strict=True):
        async with payments.database.transaction() as tx:
            invoices.append(await issue(tx, order_id, now=time))

    assert [str(invoice.number) for invoice in invoices] == ["2026-000001", "2027-000001", "2026-000002", "2027-000002"]


async def test_numbers_do_not_go_back_in_time_when_clocks_differ(payments: Payments) -> None:
    first, second = await payments.authorized(), await payments.authorized()

    async with payments.database.transaction() as tx:
        ahead = await issue(tx, first, now=NEW_YEAR + timedelta(seconds=3))
    async with payments.database.transaction() as tx:
        behind = await issue(tx, second, now=NEW_YEAR)

    assert behind.number.ordinal == ahead.number.ordinal + 1
    assert behind.issue_time == ahead.issue_time


async def test_a_credit_note_takes_the_next_number_and_names_its_invoice(payments: Payments) -> None:
    order_id = await payments.authorized()

    async with payments.database.transaction() as tx:
        invoice = await issue(tx, order_id, now=NEW_YEAR)
        note = await issue(tx, order_id, now=NEW_YEAR, corrects=invoice.number)

    assert (note.number.ordinal, note.corrects) == (2, invoice.number)


MANY_PAYMENTS = """
    insert into payments
        (payment_id, order_id, user_id, currency, amount_minor, refunded_minor, state, decline_code, attempts,
         is_nudged, create_time, update_time)
    select gen_random_uuid(), gen_random_uuid(), 'user-' || n % 10, 'EUR', 1450, 0, 'captured', '', 0, false,
           now(), now()
    from generate_series(1, 5000) n
"""
MANY_INVOICES = """
    insert into invoices (year, ordinal, kind, order_id, user_id, issue_time, currency, total_minor, seller, content)
    select 2020 + n % 7, n, 'invoice', order_id, user_id, now(), 'EUR', 1450, '[]', '{}'
    from (select *, row_number() over () as n from payments) numbered
"""


async def test_lists_of_invoices_are_read_from_their_indexes(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await filled(await empty_database("payments"), MANY_PAYMENTS, MANY_INVOICES)
    place = {"year": 2022, "ordinal": 2500}

    of_user = [
        await plan(database, invoice_store._OF_USER[False, False], user_id="user-7", limit=21),
        await plan(database, invoice_store._OF_USER[False, True], user_id="user-7", limit=21, **place),
    ]
    of_year = await plan(database, invoice_store._OF_YEAR, limit=51, **place)
    by_number = await plan(database, invoice_store._BY_NUMBER, **place)
    by_order = await plan(database, invoice_store._IS_INVOICED, order_id=uuid4())

    for page in of_user:
        assert "invoices_by_user" in page
        assert "Sort" not in page
    assert "invoices_pkey" in of_year
    assert "Sort" not in of_year
    assert "invoices_pkey" in by_number
    assert "invoices_by_order" in by_order


def capturing(database: str, provider: str, order_ids: list[str]) -> subprocess.Popen[str]:
    """Start a replica that captures all *order_ids*, eight at a time, and says so of each."""
    program = """
import asyncio, random, sys, uuid
from services.payments.cashier import Cashier
from services.payments.messages import bill_of
from services.payments.simulated import SimulatedProvider
from tests.mesh.services.payments.requests import capture
from weft.data import Database
from weft.events import Outbox

async def main(database, provider, *order_ids):
    async with Database.open(database) as database, SimulatedProvider.open(provider) as provider:
        cashier = Cashier(database, provider, Outbox("payments"), margin_s=-4.5)
        turns = asyncio.Semaphore(8)
        async def one(order_id):
            async with turns:
                try:
                    await cashier.capture(uuid.UUID(order_id), bill_of(capture(order_id)))
                except Exception:
                    return
                print(order_id, flush=True)
        await asyncio.gather(*map(one, random.sample(order_ids, len(order_ids))))

asyncio.run(main(*sys.argv[1:]))
"""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program, database, provider, *order_ids],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/gen"},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], *, lines: int) -> None:
    assert process.stdout
    for _ in range(lines):
        process.stdout.readline()
