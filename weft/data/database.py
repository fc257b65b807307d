"""One PostgreSQL database as a service sees it."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing, asynccontextmanager
from contextvars import Context, ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import create_async_engine

from weft.data import answers, listening
from weft.data._turns import Turns
from weft.data.faults import DRIVER_ERRORS, fail
from weft.data.transaction import Isolation, Transaction, UnitOfWork

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from asyncpg.pool import Pool
    from sqlalchemy.ext.asyncio import AsyncEngine

    from weft.data.listening import Missed
    from weft.data.prepared import Prepared

__all__ = ["Database"]

log = logging.getLogger(__name__)

CLOSE_S: Final = 5.0
IDLE_S: Final = 60.0

_open_block: ContextVar[tuple[Database, asyncio.Task[Any] | None] | None] = ContextVar("_open_block", default=None)


class Database:
    """Transactions through SQLAlchemy, hot reads on asyncpg, LISTEN, and stored answers of idempotent requests.

    JSON and JSONB columns are Python values (dict, list, …) on both ways in and out.
    """

    def __init__(
        self, url: str, engine: AsyncEngine, reads: Pool[asyncpg.Record], options: dict[str, Any], **limits: float
    ) -> None:
        """Use `Database.open`."""
        self.answer_ttl_s = limits["answer_ttl_s"]
        self._url = url
        self._engine = engine
        self._reads = reads
        self._options = options
        self._turns = Turns(reads.get_max_size(), wait_s=limits["checkout_s"])
        self._read_turns = Turns(reads.get_max_size(), wait_s=limits["checkout_s"])
        self._sweep_s = limits["sweep_s"]
        self._sweeper: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        pool_size: int = 5,
        application_name: str = "weft",
        checkout_s: float = 3.0,
        lock_s: float = 5.0,
        statement_s: float = 15.0,
        answer_ttl_s: float = 86_400.0,
        sweep_s: float = 600.0,
    ) -> AsyncIterator[Database]:
        """Open *url*. Nothing connects until it is used, so the server may come later.

        Args:
            url: `postgresql://user:password@host:port/name`, as libpq reads it.
            pool_size: connections of each of the two pools, at most; those for reads close when idle for a minute.
            application_name: shown in `pg_stat_activity`.
            checkout_s: longest wait for a free connection, and for a new one to be made.
            lock_s: longest wait for a lock; the claim of a concurrent equal request is one.
            statement_s: longest run of one statement.
            answer_ttl_s: how long answers of idempotent requests are kept.
            sweep_s: time between deletions of expired answers.
        """
        settings = {
            "application_name": application_name,
            "lock_timeout": f"{lock_s * 1000:.0f}",
            "statement_timeout": f"{statement_s * 1000:.0f}",
            "idle_in_transaction_session_timeout": "60000",
        }
        # The server gives up first; the client's own limit is for a server that no longer answers at all.
        options: dict[str, Any] = {
            "timeout": checkout_s,
            "command_timeout": statement_s + 5,
            "server_settings": settings,
        }
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=partial(asyncpg.connect, url, **options),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=checkout_s,
            pool_use_lifo=True,
            isolation_level="READ COMMITTED",
        )
        event.listen(engine.sync_engine, "checkout", _replace_if_closed)
        reads = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=pool_size,
            max_inactive_connection_lifetime=IDLE_S,
            init=_set_codecs,
            reset=_keep,
            **options,
        )
        limits = {"answer_ttl_s": answer_ttl_s, "checkout_s": checkout_s, "sweep_s": sweep_s}
        async with reads:
            database = cls(url, engine, reads, options, **limits)
            try:
                yield database
            finally:
                await database._close()

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "READ COMMITTED", independent: bool = False
    ) -> AsyncIterator[Transaction]:
        """Run the block as one transaction: leaving it cleanly commits, leaving it by any exception rolls back.

        Inside `answering` the block joins the request's transaction instead, unless *independent*: it then commits at
        its own end, whatever becomes of the request. A block does not open another; it passes its transaction along.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, also when no connection became free in time. After a failed COMMIT the
                outcome is unknown.
            Aborted: CONFLICT, when it met a conflicting transaction.
            ConstraintViolation: a deferred constraint, at the end of the block.
        """
        outer, block = _open_block.get(), (self, asyncio.current_task())
        if outer == block:
            raise RuntimeError("transaction() inside transaction(): pass the outer one along, or use its savepoint()")
        _open_block.set(block)
        try:
            request = answers.current_answering.get()
            if request is not None and request.is_open and request.database is self and not independent:
                async with request.join(isolation) as joined:
                    yield joined
                return
            unit = await self.begin(isolation)
            try:
                yield unit
            except BaseException:
                await unit.rollback()
                raise
            await unit.commit()
        finally:
            _open_block.set(outer)

    async def begin(self, isolation: Isolation = "READ COMMITTED") -> UnitOfWork:
        """Begin a transaction that the caller must end. Everyone but the mesh itself uses `transaction`."""
        return await UnitOfWork.begin(self._engine, self._turns, isolation)

    async def fetch_one(self, statement: Prepared, /, **parameters: Any) -> asyncpg.Record | None:
        """Run a hot read outside any transaction; return its first row or None."""
        arguments = statement.arguments(parameters)
        try:
            await self._read_turns.take()
            try:
                async with self._reads.acquire() as connection:
                    return await connection.fetchrow(statement.sql, *arguments)
            finally:
                self._read_turns.give_back()
        except DRIVER_ERRORS as error:
            fail(error)

    async def fetch_all(self, statement: Prepared, /, **parameters: Any) -> list[asyncpg.Record]:
        """Run a hot read outside any transaction; return all its rows."""
        arguments = statement.arguments(parameters)
        try:
            await self._read_turns.take()
            try:
                async with self._reads.acquire() as connection:
                    return await connection.fetch(statement.sql, *arguments)
            finally:
                self._read_turns.give_back()
        except DRIVER_ERRORS as error:
            fail(error)

    async def ping(self, *, timeout_s: float = 1.0) -> None:
        """Return when the database has answered. Raises Unavailable after *timeout_s* at the latest."""
        try:
            async with asyncio.timeout(timeout_s), self._reads.acquire() as connection:
                await connection.execute("SELECT 1")
        except DRIVER_ERRORS as error:
            fail(error)

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[AsyncIterator[str | Missed]]:
        """Listen to *channel* on a connection of its own, reconnecting for ever.

        Yields an iterator of payloads, and of MISSED wherever messages may have been missed: first of all, and after
        every reconnection.
        """
        async with aclosing(listening.messages(self._url, channel, self._options)) as received:
            yield received

    def answering(self, key: answers.RequestKey) -> AbstractAsyncContextManager[answers.Answering]:
        """Answer one idempotent request once, however many copies of it arrive, one after another or at once.

            async with database.answering(key) as request:
                if request.answer is None:
                    response = await handler()                # its transaction() blocks join one transaction
                    await request.complete(serialised(response))   # commits it, and the answer with it
            return request.answer

        Any exception rolls all of it back: no failure is stored as done. If a concurrent copy commits first, the
        handler is left by a BaseException of our own at its first transaction(), and `answer` is what the other gave.
        Locks are held until `complete`.

        Raises:
            RequestIdReused: *key* was used with another fingerprint.
            Aborted: CONFLICT, when a concurrent copy took longer than *lock_s*.
        """
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(
                answers.sweep(self, interval_s=self._sweep_s),
                name="sweep request_answers",
                context=Context(),  # not the request's, which merely came first
            )
        return answers.answering(self, key)

    async def delete_expired_answers(self, *, limit: int = 1000) -> int:
        """Delete up to *limit* expired answers; return how many. `answering` has it done every *sweep_s*."""
        return await answers.delete_expired(self, limit=limit)

    async def _close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._reads.close()
                await self._engine.dispose()
        except TimeoutError:
            log.warning("connections still in use were cut")
            self._reads.terminate()


async def _keep(_connection: object) -> None:
    """Reset nothing, saving a round trip per read: a SELECT outside a transaction leaves no state in its session."""


async def _set_codecs(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


def _replace_if_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool connect again where a connection died while idle, as all do when the server restarts."""
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError
