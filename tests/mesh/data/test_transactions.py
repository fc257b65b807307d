"""Rollback unless all went well, and no success told before the commit has succeeded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from weft import errors
from weft.data import CheckViolation, Database, UniqueViolation, prepare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from weft.data import Transaction
    from weft.data.postgres import EmbeddedPostgres

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

jars = sa.table("jars", sa.column("jar_id", sa.Text), sa.column("label", sa.Text), sa.column("shelf", sa.Integer))
LABELS = prepare(sa.select(jars.c.label).order_by(jars.c.label))


async def add(tx: Transaction, jar_id: str, *, label: str = "plum", shelf: int | None = None) -> None:
    await tx.execute(sa.insert(jars).values(jar_id=jar_id, label=label, shelf=shelf))


async def labels(database: Database) -> list[str]:
    return [row["label"] for row in await database.fetch_all(LABELS)]


async def test_leaving_the_block_commits(database: Database) -> None:
    async with database.transaction() as tx:
        await add(tx, "1", label="plum")
        await add(tx, "2", label="quince")

    assert await labels(database) == ["plum", "quince"]


async def test_leaving_the_block_by_an_exception_rolls_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            await add(tx, "1")
            _ = 1 / 0

    assert await labels(database) == []


async def test_cancelling_the_block_rolls_back_and_returns_the_connection(
    database_url: str, database: Database
) -> None:
    inserted = asyncio.Event()

    async def work(only: Database) -> None:
        async with only.transaction() as tx:
            await add(tx, "1")
            inserted.set()
            await tx.scalar(sa.select(sa.func.pg_sleep(30)))

    async with Database.open(database_url, pool_size=1, checkout_s=2) as only:
        task = asyncio.create_task(work(only))
        await inserted.wait()
        task.cancel()
        await asyncio.wait([task])

        async with only.transaction() as tx:
            await add(tx, "2", label="quince")

    assert task.cancelled()
    assert await labels(database) == ["quince"]


async def test_a_commit_that_fails_is_reported_and_nothing_is_kept(database: Database) -> None:
    with pytest.raises(UniqueViolation) as refused:  # the constraint is deferred: only COMMIT sees it
        async with database.transaction() as tx:
            await add(tx, "1", shelf=7)
            await add(tx, "2", shelf=7)

    assert refused.value.constraint == "jars_shelf_unique"
    assert await labels(database) == []


async def test_a_failed_statement_whose_error_was_caught_can_not_pass_for_a_commit(database: Database) -> None:
    with pytest.raises(RuntimeError, match="savepoint"):
        async with database.transaction() as tx:
            await add(tx, "1")
            with pytest.raises(UniqueViolation):
                await add(tx, "1")

    assert await labels(database) == []


async def test_a_savepoint_undoes_only_itself(database: Database) -> None:
    async with database.transaction() as tx:
        await add(tx, "1", label="plum")
        with pytest.raises(UniqueViolation):
            async with tx.savepoint():
                await add(tx, "2", label="quince")
                await add(tx, "1")
        await add(tx, "3", label="sloe")

    assert await labels(database) == ["plum", "sloe"]


async def test_a_violation_names_its_constraint(database: Database) -> None:
    with pytest.raises(UniqueViolation) as taken:
        async with database.transaction() as tx:
            await add(tx, "1")
            await add(tx, "1")
    with pytest.raises(CheckViolation) as unlabelled:
        async with database.transaction() as tx:
            await add(tx, "1", label="")

    assert taken.value.constraint == "jars_pkey"
    assert unlabelled.value.constraint == "jars_label_given"


async def test_the_verbs_return_what_they_say(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(sa.insert(jars), [{"jar_id": "1", "label": "plum"}, {"jar_id": "2", "label": "quince"}])
        updated = await tx.execute(sa.update(jars).values(shelf=sa.cast(jars.c.jar_id, sa.Integer)))
        every = await tx.all(sa.select(jars.c.label).order_by(jars.c.shelf))
        first = await tx.first(sa.select(jars).where(jars.c.label == "plum"))
        missing = await tx.first(sa.select(jars).where(jars.c.label == "sloe"))
        count = (await tx.one(sa.select(sa.func.count().label("jars")).select_from(jars))).jars
        nothing = await tx.scalar(sa.select(jars.c.label).where(jars.c.label == "sloe"))

    assert (updated, count) == (2, 2)
    assert [row.label for row in every] == ["plum", "quince"]
    assert first is not None
    assert (first.jar_id, first.shelf) == ("1", 1)
    assert (missing, nothing) == (None, None)


async def test_conflicting_serializable_transactions_are_aborted_with_a_reason(database: Database) -> None:
    async with database.transaction() as tx:
        await add(tx, "1", shelf=1)
    both_have_read = asyncio.Barrier(2)

    async def increment() -> None:
        async with database.transaction(isolation="SERIALIZABLE") as tx:
            shelf = await tx.scalar(sa.select(jars.c.shelf))
            await both_have_read.wait()
            await tx.execute(sa.update(jars).values(shelf=shelf + 1))

    outcomes = await asyncio.gather(increment(), increment(), return_exceptions=True)

    [aborted] = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(aborted, errors.Aborted)
    assert aborted.reason == "CONFLICT"
    assert "serialize" not in str(aborted)


async def test_waiting_for_a_lock_is_bounded(database_url: str, database: Database) -> None:
    async with database.transaction() as tx:
        await add(tx, "1")

    async with Database.open(database_url, lock_s=0.05) as impatient, database.transaction() as holder:
        await holder.execute(sa.update(jars).values(label="sloe"))
        with pytest.raises(errors.Aborted) as refused:
            async with impatient.transaction() as tx:
                await tx.execute(sa.update(jars).values(label="quince"))

    assert refused.value.reason == "CONFLICT"
    assert await labels(database) == ["sloe"]


async def test_a_statement_that_runs_too_long_is_ended(database_url: str) -> None:
    async with Database.open(database_url, statement_s=0.05) as hasty:
        with pytest.raises(errors.DeadlineExceeded) as refused:
            async with hasty.transaction() as tx:
                await tx.scalar(sa.select(sa.func.pg_sleep(30)))

    assert refused.value.reason == "DATABASE_TIMEOUT"


async def is_running(database: Database, words: str) -> bool:
    """Tell whether some other connection is running a statement that contains *words*."""
    others = sa.text(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE :words AND pid <> pg_backend_pid() AND state = 'active'"
    )
    async with database.transaction() as tx:
        return await tx.first(others.bindparams(words=f"%{words}%")) is not None


async def test_waiting_for_a_connection_is_bounded_and_ping_does_not_hang(
    database: Database, database_url: str, eventually: Eventually
) -> None:
    async with Database.open(database_url, pool_size=1, checkout_s=0.1) as small, small.transaction() as tx:
        await tx.execute(sa.select(sa.literal(1)))
        busy = asyncio.create_task(small.fetch_one(prepare(sa.select(sa.func.pg_sleep(5)))))
        await eventually(lambda: is_running(database, "pg_sleep"))

        with pytest.raises(errors.Unavailable) as no_connection:
            await asyncio.create_task(_touch(small))
        with pytest.raises(errors.Unavailable) as no_read:
            await small.fetch_one(LABELS)
        with pytest.raises(errors.Unavailable) as no_ping:
            await small.ping(timeout_s=0.1)
        busy.cancel()
        await asyncio.wait([busy])

    assert {e.value.reason for e in (no_connection, no_read, no_ping)} == {"DATABASE_UNAVAILABLE"}


async def _touch(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(sa.select(sa.literal(1)))


@pytest.mark.parametrize("kind", ["transaction", "read"])
async def test_connections_are_given_first_come_first_served(database_url: str, kind: str) -> None:
    served: list[int] = []
    one = prepare(sa.select(sa.literal(1)))

    async with Database.open(database_url, pool_size=1) as small:

        async def worker(number: int) -> None:
            for _ in range(20):  # asking again at once, when others have been waiting for long
                await (_touch(small) if kind == "transaction" else small.fetch_one(one))
                served.append(number)

        await asyncio.gather(*[worker(number) for number in range(8)])

    assert served == [*range(8)] * 20


async def test_a_transaction_inside_a_transaction_is_refused(database: Database) -> None:
    with pytest.raises(RuntimeError, match="pass the outer one along"):
        async with database.transaction(), database.transaction():
            pass


async def test_what_follows_a_commit_follows_only_a_commit(database: Database) -> None:
    told: list[str] = []

    async def tell(word: str) -> None:
        told.append(word)
        raise OSError(word)  # logged: the transaction has happened all the same

    async with database.transaction() as tx:
        tx.after_commit(lambda: tell("committed"))
        assert told == []
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            tx.after_commit(lambda: tell("rolled back"))
            _ = 1 / 0

    assert told == ["committed"]


async def test_a_database_that_is_gone_is_unavailable_until_it_is_back(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.ensure_database("jam")
    one = prepare(sa.select(sa.literal(1).label("one")))
    async with Database.open(url, checkout_s=2) as database:
        await asyncio.gather(_touch(database), _touch(database), database.ping(), database.fetch_one(one))
        await asyncio.to_thread(own_postgres.stop)

        attempts = (_touch(database), database.fetch_one(one), database.fetch_all(one), database.ping())
        refusals = await asyncio.gather(*attempts, return_exceptions=True)
        await asyncio.to_thread(own_postgres.start)
        await asyncio.gather(_touch(database), _touch(database), database.ping(), database.fetch_one(one))

    for refusal in refusals:
        assert isinstance(refusal, errors.Unavailable)
        assert refusal.reason == "DATABASE_UNAVAILABLE"
        assert "127.0.0.1" not in str(refusal)


async def test_a_statement_cut_off_in_the_middle_is_unavailable(database: Database) -> None:
    async def cut_off() -> None:
        async with database.transaction() as tx:
            await tx.scalar(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid())))

    with pytest.raises(errors.Unavailable) as refused:
        await cut_off()

    assert refused.value.reason == "DATABASE_UNAVAILABLE"
    await _touch(database)
