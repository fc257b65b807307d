"""Notifications arrive if and when their transaction commits; where some may be missing, the listener is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from weft.data import MISSED, Database

if TYPE_CHECKING:
    from weft.data.postgres import EmbeddedPostgres

TERMINATE_LISTENERS = sa.text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
)


async def say(database: Database, *words: str) -> None:
    async with database.transaction() as tx:
        for word in words:
            await tx.notify("jam_news", word)


async def test_messages_arrive_in_order_after_a_first_mark(database: Database) -> None:
    async with asyncio.timeout(10), database.listen("jam_news") as messages:
        first = await anext(messages)
        await say(database, "one", "two")
        rest = [await anext(messages), await anext(messages)]

    assert first is MISSED
    assert rest == ["one", "two"]


async def test_a_rolled_back_transaction_says_nothing(database: Database) -> None:
    async with asyncio.timeout(10), database.listen("jam_news") as messages:
        await anext(messages)
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await tx.notify("jam_news", "never")
                _ = 1 / 0
        await say(database, "after")

        assert await anext(messages) == "after"


async def test_a_lost_connection_comes_back_and_is_marked(database: Database) -> None:
    async with asyncio.timeout(20), database.listen("jam_news") as messages:
        await anext(messages)
        async with database.transaction() as tx:
            terminated = await tx.scalar(TERMINATE_LISTENERS)
        mark = await anext(messages)
        await say(database, "again")

        assert terminated == 1
        assert mark is MISSED
        assert await anext(messages) == "again"


async def test_listening_outlives_a_restart_of_the_server(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.ensure_database("jam")
    async with asyncio.timeout(60), Database.open(url) as database, database.listen("jam_news") as messages:
        await anext(messages)
        await asyncio.to_thread(own_postgres.stop)
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.to_thread(own_postgres.start)

        assert await waiting is MISSED
        await say(database, "again")
        assert await anext(messages) == "again"


async def test_a_listener_may_start_before_the_server(own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.ensure_database("jam")
    await asyncio.to_thread(own_postgres.stop)
    async with asyncio.timeout(60), Database.open(url) as database, database.listen("jam_news") as messages:
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.to_thread(own_postgres.start)

        assert await waiting is MISSED
