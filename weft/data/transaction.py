"""A unit of work on one connection, and the verbs a store speaks inside it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar

from sqlalchemy import func, select

from weft.data._turns import Turns
from weft.data.faults import DRIVER_ERRORS, fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import CursorResult, Executable, Row
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    Parameters: TypeAlias = Mapping[str, Any]

__all__ = ["Isolation", "Transaction"]

log = logging.getLogger(__name__)

T = TypeVar("T")

Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


class Transaction:
    """Statements of one transaction, for SQLAlchemy Core. Begun and ended by `Database.transaction`, never by a store.

    A statement that is made once, a constant of its module with a `bindparam` for each value, and is run with
    *parameters* costs half of one that is made for each call.

    Every verb raises `ConstraintViolation`, `Aborted` (CONFLICT), `DeadlineExceeded` (DATABASE_TIMEOUT) or
    `Unavailable` (DATABASE_UNAVAILABLE). After any of them PostgreSQL refuses the rest of the transaction: let it
    propagate, or put the statement that may fail in a `savepoint`.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._failed = False
        self._after_commit: list[Callable[[], Awaitable[None]]] = []

    async def execute(self, statement: Executable, parameters: Parameters | Sequence[Parameters] | None = None) -> int:
        """Return how many rows *statement* changed; run once for each of several *parameters*, it returns -1."""
        return (await self._run(statement, parameters)).rowcount

    async def first(self, statement: Executable, parameters: Parameters | None = None) -> Row[Any] | None:
        """Return the first row, or None."""
        return (await self._run(statement, parameters)).first()

    async def one(self, statement: Executable, parameters: Parameters | None = None) -> Row[Any]:
        """Return the only row. Any other number raises SQLAlchemy's own error, being a mistake in the store."""
        return (await self._run(statement, parameters)).one()

    async def all(self, statement: Executable, parameters: Parameters | None = None) -> Sequence[Row[Any]]:
        return (await self._run(statement, parameters)).all()

    async def scalar(self, statement: Executable, parameters: Parameters | None = None) -> Any:
        """Return the first column of the first row, or None without a row."""
        return (await self._run(statement, parameters)).scalar()

    async def notify(self, channel: str, payload: str = "") -> None:
        """Tell every listener of *channel*, if and when this transaction commits. *payload* is under 8,000 bytes."""
        await self._run(select(func.pg_notify(channel, payload)))

    def after_commit(self, action: Callable[[], Awaitable[None]]) -> None:
        """Await *action* once this transaction has committed. A crash may lose it; its failure is only logged."""
        self._after_commit.append(action)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo only the statements inside if the block is left by an exception; the transaction goes on."""
        self.refuse_if_failed()
        actions = len(self._after_commit)
        savepoint = await self._guarded(self._connection.begin_nested())
        try:
            yield
            self.refuse_if_failed()
            await self._guarded(savepoint.commit())
        except BaseException:
            del self._after_commit[actions:]
            if savepoint.is_active:
                await self._guarded(savepoint.rollback())
                self._failed = False
            raise

    async def _run(
        self, statement: Executable, parameters: Parameters | Sequence[Parameters] | None = None
    ) -> CursorResult[Any]:
        return await self._guarded(self._connection.execute(statement, parameters))

    async def _guarded(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except DRIVER_ERRORS as error:
            self._failed = True
            fail(error)

    def refuse_if_failed(self) -> None:
        """Raise RuntimeError if PostgreSQL would answer COMMIT with a quiet ROLLBACK."""
        if self._failed:
            raise RuntimeError("a statement failed and its error was caught inside the transaction; use savepoint()")


class UnitOfWork(Transaction):
    """A transaction in the hands of whoever may end it, by exactly one of `commit` and `rollback`."""

    def __init__(self, connection: AsyncConnection, turns: Turns) -> None:
        super().__init__(connection)
        self._turns = turns

    @classmethod
    async def begin(cls, engine: AsyncEngine, turns: Turns, isolation: Isolation = "READ COMMITTED") -> Self:
        """Check a connection out in turn. BEGIN travels with the first statement."""
        try:
            await turns.take()
            try:
                connection = await engine.connect()
                if isolation != "READ COMMITTED":  # the engine's default
                    await connection.execution_options(isolation_level=isolation)
            except BaseException:
                turns.give_back()
                raise
        except DRIVER_ERRORS as error:
            fail(error)
        return cls(connection, turns)

    async def commit(self) -> None:
        """Make the work durable, or undo it and raise what a verb may raise (a deferred constraint, say)."""
        try:
            self.refuse_if_failed()
            await self._guarded(self._connection.commit())
        except BaseException:
            await self.rollback()
            raise
        await self._connection.close()  # nothing is left to roll back, so nothing to wait for
        self._turns.give_back()
        for action in self._after_commit:
            try:
                await action()
            except Exception:
                log.exception("after commit")

    async def rollback(self) -> None:
        """Give the connection back rolled back, also when the caller is cancelled meanwhile."""
        closing = asyncio.ensure_future(self._connection.close())
        closing.add_done_callback(lambda _: self._turns.give_back())
        try:
            await asyncio.shield(closing)
        except DRIVER_ERRORS:  # the pool has discarded it, and PostgreSQL rolls back what loses its connection
            log.debug("connection lost while closing", exc_info=True)
