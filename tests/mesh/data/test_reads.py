"""Hot reads give the rows a transaction would, without one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from weft.data import Database, prepare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

jars = sa.table(
    "jars",
    sa.column("jar_id", sa.Text),
    sa.column("label", sa.Text),
    sa.column("shelf", sa.Integer),
    sa.column("notes", JSONB),
)
JAR = prepare(sa.select(jars).where(jars.c.jar_id == sa.bindparam("jar_id")))
NOTES = {"by": "ann", "sizes": [1, 2.5, None], "sweet": True}


@pytest.fixture(autouse=True)
async def _three_jars(database: Database) -> None:
    async with database.transaction() as tx:
        for number, word in enumerate(("plum", "quince", "sloe")):
            await tx.execute(sa.insert(jars).values(jar_id=word[0], label=word, shelf=number, notes=NOTES))


async def test_a_row_is_found_or_it_is_none(database: Database) -> None:
    found = await database.fetch_one(JAR, jar_id="q")

    assert found is not None
    assert (found["label"], found["shelf"]) == ("quince", 1)
    assert await database.fetch_one(JAR, jar_id="x") is None


async def test_a_list_in_a_parameter_selects_its_rows(database: Database) -> None:
    ids = sa.bindparam("ids", type_=ARRAY(sa.Text))
    some = prepare(sa.select(jars.c.label).where(jars.c.jar_id == sa.any_(ids)).order_by(jars.c.label.desc()))

    assert [row["label"] for row in await database.fetch_all(some, ids=["p", "s", "x"])] == ["sloe", "plum"]


async def test_json_is_python_on_both_ways_in_and_out(database: Database) -> None:
    with_notes = prepare(sa.select(jars.c.label).where(jars.c.notes.contains(sa.bindparam("notes", type_=JSONB))))

    async with database.transaction() as tx:
        in_transaction = await tx.scalar(sa.select(jars.c.notes).where(jars.c.jar_id == "p"))
    row = await database.fetch_one(JAR, jar_id="p")

    assert row is not None
    assert in_transaction == row["notes"] == NOTES
    assert len(await database.fetch_all(with_notes, notes={"by": "ann"})) == 3


async def test_a_cancelled_read_leaves_the_pool_whole(
    database: Database, database_url: str, eventually: Eventually
) -> None:
    sleep = prepare(sa.select(sa.func.pg_sleep(30)))
    async with Database.open(database_url, pool_size=2, checkout_s=2) as small:
        for _ in range(3):
            reads = [asyncio.create_task(small.fetch_one(sleep)) for _ in range(2)]
            await eventually(lambda: _sleeping(database, 2))
            for read in reads:
                read.cancel()
            await asyncio.wait(reads)
            await eventually(lambda: _sleeping(database, 0))

        assert await small.fetch_one(JAR, jar_id="p") is not None


async def test_a_statement_outlives_a_change_of_its_table(database: Database) -> None:
    await database.fetch_one(JAR, jar_id="p")
    async with database.transaction() as tx:
        await tx.execute(sa.text("ALTER TABLE jars ALTER COLUMN shelf TYPE bigint"))

    row = await database.fetch_one(JAR, jar_id="q")

    assert row is not None
    assert row["shelf"] == 1


async def test_more_readers_than_connections_take_turns(database_url: str) -> None:
    async with Database.open(database_url, pool_size=2) as small:
        rows = await asyncio.gather(*[small.fetch_one(JAR, jar_id="p") for _ in range(100)])

    assert len(rows) == 100
    assert None not in rows


async def test_a_mistake_in_a_statement_is_not_dressed_up(database: Database) -> None:
    wrong = prepare(sa.select(sa.column("lid")).select_from(jars))

    with pytest.raises(asyncpg.UndefinedColumnError):
        await database.fetch_one(wrong)
    with pytest.raises(asyncpg.DataError):
        await database.fetch_one(JAR, jar_id=object())


async def _sleeping(database: Database, count: int) -> bool:
    found = sa.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'")
    async with database.transaction() as tx:
        return bool(await tx.scalar(found) == count)
