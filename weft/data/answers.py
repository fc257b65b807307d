"""Stored answers of idempotent requests: the effect of a request and its answer are committed together, once.

Source: https://google.aip.dev/155
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    Column,
    DateTime,
    Index,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from weft import errors
from weft.data.prepared import prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from weft.data.database import Database
    from weft.data.transaction import Isolation, Transaction, UnitOfWork

__all__ = ["Answering", "RequestIdReused", "RequestKey", "forget_answers", "request_answers"]

log = logging.getLogger(__name__)

request_answers: Final = Table(
    "request_answers",
    MetaData(),
    Column("method", Text, primary_key=True),
    Column("caller", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Index("request_answers_expire_time", "expire_time"),
)

_KEY: Final = (request_answers.c.method, request_answers.c.caller, request_answers.c.request_id)

# In a statement that sets columns, a parameter may not be called as one of them.
_IS: Final = and_(*(column == bindparam(f"of_{column.name}") for column in _KEY))

_STORED: Final = prepare(
    select(request_answers.c.fingerprint, request_answers.c.answer).where(
        _IS, request_answers.c.expire_time > func.now(), request_answers.c.answer.is_not(None)
    )
)

_NEW: Final = insert(request_answers).values(expire_time=func.now() + bindparam("ttl", type_=Interval))
_CLAIM: Final = _NEW.on_conflict_do_update(
    index_elements=_KEY,
    set_={name: _NEW.excluded[name] for name in ("fingerprint", "answer", "expire_time")} | {"create_time": func.now()},
    where=request_answers.c.expire_time <= func.now(),
).returning(literal(1))
_COMPLETE: Final = update(request_answers).where(_IS)
_FORGO: Final = delete(request_answers).where(_IS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """One request, however often it arrives."""

    method: str
    """`/package.Service/Method`."""
    caller: str
    """Whose request ids these are; callers can't see each other's answers."""
    request_id: str
    fingerprint: bytes
    """Digest of the request without its id: the same id with another one is refused."""

    def parameters(self) -> dict[str, str]:
        """Return the values of `_IS`."""
        return {"of_method": self.method, "of_caller": self.caller, "of_request_id": self.request_id}


class RequestIdReused(errors.InvalidArgument):
    """The request id has been used for a different request."""


class _AnsweredElsewhere(BaseException):
    """Leaves a handler whose request was answered by a concurrent one. Not an Exception: no handler is to catch it."""


current_answering: ContextVar[Answering | None] = ContextVar("current_answering", default=None)


class Answering:
    """One request on its way to being answered; `Database.answering` makes it."""

    answer: bytes | None
    """The stored answer, if there is one. Then nothing is left to do but send it."""
    is_open: bool
    """False once the request is done: what a handler left running in the background no longer joins it."""
    is_lost: bool
    """True when a concurrent request with the same key committed first."""

    def __init__(self, database: Database, key: RequestKey, answer: bytes | None) -> None:
        self.database = database
        self.answer = answer
        self.is_open = True
        self.is_lost = False
        self._key = key
        self._unit: UnitOfWork | None = None
        self._turn = asyncio.Lock()  # blocks in concurrent tasks of one handler share one connection

    async def complete(self, answer: bytes) -> None:
        """Store *answer* and commit it with all that the request's transactions did. Raises as a commit does."""
        async with self._turn:
            self._refuse_if_over()
            if self._unit is None:
                self._unit = await self.database.begin()
                await self._claim(self._unit, answer)
            else:
                await self._unit.execute(_COMPLETE, self._key.parameters() | {"answer": answer})
            unit, self._unit = self._unit, None
            await unit.commit()
            self.answer = answer

    async def forgo(self) -> None:
        """Commit what the request's transactions did, and store no answer: a repeat will be served anew."""
        async with self._turn:
            self._refuse_if_over()
            self.is_open = False
            if self._unit is not None:
                unit, self._unit = self._unit, None
                await unit.execute(_FORGO, self._key.parameters())
                await unit.commit()

    async def close(self) -> None:
        """Roll back whatever `complete` has not committed; a block still running in some task does so when it ends."""
        self.is_open = False
        if self._unit is not None and not self._turn.locked():
            unit, self._unit = self._unit, None
            await unit.rollback()

    @asynccontextmanager
    async def join(self, isolation: Isolation) -> AsyncIterator[Transaction]:
        """Run one of the request's transaction blocks.

        The first begins the transaction and claims the request; the others are savepoints in it, so that a block left
        by an exception undoes itself only, as it would alone. All are committed by `complete`, in READ COMMITTED unless
        the first block says otherwise.
        """
        async with self._turn:
            self._refuse_if_over()
            unit, is_first = self._unit or await self.database.begin(isolation), self._unit is None
            self._unit = None
            try:
                if is_first:
                    await self._claim(unit, None)
                    yield unit
                    unit.refuse_if_failed()
                else:
                    async with unit.savepoint():
                        yield unit
                self._refuse_if_over()
            except BaseException:
                if is_first or not self.is_open:
                    await unit.rollback()
                else:
                    self._unit = unit
                raise
            self._unit = unit

    async def _claim(self, transaction: Transaction, answer: bytes | None) -> None:
        """Take the request for this transaction, waiting (no longer than lock_timeout) for a concurrent one to end."""
        key = self._key
        claim = {
            "method": key.method,
            "caller": key.caller,
            "request_id": key.request_id,
            "fingerprint": key.fingerprint,
            "answer": answer,
            "ttl": timedelta(seconds=self.database.answer_ttl_s),
        }
        if await transaction.scalar(_CLAIM, claim) is None:
            self.is_lost = True
            raise _AnsweredElsewhere

    def refuse_if_unanswered(self) -> None:
        if self.answer is None and self.is_open:
            raise RuntimeError("left answering() without complete() or forgo()")

    def _refuse_if_over(self) -> None:
        if self.is_lost:
            raise _AnsweredElsewhere
        if self.answer is not None or not self.is_open:
            raise RuntimeError("the request is over; nothing more can join it")


async def stored_answer(database: Database, key: RequestKey) -> bytes | None:
    """Return the answer given to *key*, if any. Raises RequestIdReused."""
    row = await database.fetch_one(_STORED, **key.parameters())
    if row is None:
        return None
    if row["fingerprint"] != key.fingerprint:
        raise RequestIdReused(
            "this request_id was used for a different request; use a new one", reason="REQUEST_ID_REUSED"
        )
    return bytes(row["answer"])


@asynccontextmanager
async def answering(database: Database, key: RequestKey) -> AsyncIterator[Answering]:
    """Answer one request, once. See `Database.answering`."""
    request = Answering(database, key, await stored_answer(database, key))
    outer = current_answering.get()
    if request.answer is not None:
        yield request
        return
    current_answering.set(request)
    try:
        yield request
        request.refuse_if_unanswered()
    except BaseException as error:
        await request.close()
        if not request.is_lost or not isinstance(error, Exception | BaseExceptionGroup | _AnsweredElsewhere):
            raise
        request.answer = await stored_answer(database, key)
        if request.answer is None:  # it expired, or was deleted, within these milliseconds
            raise errors.Aborted(
                "a concurrent request with this request_id was in the way", reason="CONFLICT"
            ) from None
    finally:
        request.is_open = False
        current_answering.set(outer)


async def delete_expired(database: Database, *, limit: int) -> int:
    """Delete up to *limit* expired answers, skipping those another replica is deleting; return how many."""
    expired = (
        select(*_KEY).where(request_answers.c.expire_time <= func.now()).limit(limit).with_for_update(skip_locked=True)
    )
    unit = await database.begin()
    try:
        deleted = await unit.execute(delete(request_answers).where(tuple_(*_KEY).in_(expired)))
    except BaseException:
        await unit.rollback()
        raise
    await unit.commit()
    return deleted


async def forget_answers(tx: Transaction, *, about: str) -> int:
    """Delete the stored answers to requests of *about*, and those to others that name it; return how many.

    For personal data that must not outlive what it is kept for. *about* is whose requests the pipeline says they are,
    the subject of a token; an answer names it where that text is in its bytes. All answers are read for that, so it is
    for rare occasions. Their requests count as new afterwards.
    """
    named = func.position(func.convert_to(about, "UTF8").op("in")(request_answers.c.answer)) > 0
    return await tx.execute(delete(request_answers).where(or_(request_answers.c.caller == about, named)))


async def sweep(database: Database, *, interval_s: float, batch: int = 1000) -> None:
    """Delete expired answers for ever, a batch at a time; replicas started together spread out."""
    while True:
        await asyncio.sleep(interval_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
        try:
            while await delete_expired(database, limit=batch) == batch:
                pass
        except Exception as error:  # noqa: BLE001  # whatever it is, the next time may do
            log.warning("cannot delete expired answers", extra={"error.type": type(error).__name__})
