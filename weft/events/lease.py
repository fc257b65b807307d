"""One replica at a time: whose turn it is stands in the service's database, by the database's clock."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from sqlalchemy import ColumnElement, Executable, bindparam, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert

from weft.data import Database, Prepared, prepare
from weft.errors import ServiceError
from weft.events.backoff import jittered
from weft.events.tables import leases

__all__ = ["Lease", "LeaseLost", "leased"]

_STATE: Final[Prepared] = prepare(
    select(
        leases.c.token,
        leases.c.holder.is_(None).label("is_free"),
        func.extract("epoch", leases.c.expire_time - func.clock_timestamp()).label("left_s"),
    ).where(leases.c.subscription == bindparam("subscription"))
)
_log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another replica may apply the subscription's events from now on."""


class Lease:
    """A turn at one subscription.

    It is fenced: a transaction that applies an event holds the lease's row by its token (see `Inbox`), and whoever
    takes the lease changes the token, so either that transaction ends before or it sees that it is too late.
    """

    def __init__(self, database: Database, subscription: str, *, duration_s: float) -> None:
        self.subscription = subscription
        self.token = 0
        self._database, self._duration_s = database, duration_s
        self._holder = uuid4().hex
        self._valid_until_s = 0.0

    @property
    def is_valid(self) -> bool:
        """False once another replica may have taken it. True is only a hint: the process may have been paused."""
        return time.monotonic() < self._valid_until_s

    async def take(self) -> float:
        """Take it if nobody has it. Return 0, or the seconds after which to look again, at most."""
        state = await self._database.fetch_one(_STATE, subscription=self.subscription)
        if state is not None and not state["is_free"] and state["left_s"] > 0:
            return float(state["left_s"])
        started_s = time.monotonic()
        expire_time = func.clock_timestamp() + text(f"interval '{self._duration_s * 1000:.0f} milliseconds'")
        if state is None:
            first = insert(leases).values(
                subscription=self.subscription, holder=self._holder, token=1, expire_time=expire_time
            )
            taking: Executable = first.on_conflict_do_nothing().returning(leases.c.token)
        else:
            # The token is part of a unique index: PostgreSQL then lets no FOR KEY SHARE of the old one pass.
            taking = (
                update(leases)
                .values(holder=self._holder, token=leases.c.token + 1, expire_time=expire_time)
                .where(leases.c.subscription == self.subscription, leases.c.token == state["token"])
                .where(leases.c.holder.is_(None) | (leases.c.expire_time <= func.clock_timestamp()))
                .returning(leases.c.token)
            )
        async with self._database.transaction() as tx:
            token = await tx.scalar(taking)
        if token is None:
            return self._duration_s
        self.token, self._valid_until_s = token, started_s + self._duration_s
        return 0.0

    async def keep(self) -> None:
        """Renew it for ever. Raises LeaseLost."""
        while True:
            await asyncio.sleep(self._duration_s / 3)
            await self._renew()

    async def give_back(self) -> None:
        """Let the next replica have it at once. Does nothing where it is lost, or the database is away."""
        self._valid_until_s = 0.0
        over = update(leases).values(holder=None, expire_time=func.clock_timestamp()).where(self._is_ours())
        try:
            async with self._database.transaction() as tx:
                await tx.execute(over)
        except ServiceError as error:
            _log.info("a lease was not given back", extra={"reason": error.reason})

    async def _renew(self) -> None:
        while True:
            started_s = time.monotonic()
            expire_time = func.clock_timestamp() + text(f"interval '{self._duration_s * 1000:.0f} milliseconds'")
            renewal = update(leases).values(expire_time=expire_time).where(self._is_ours()).returning(literal(1))
            try:
                async with (
                    asyncio.timeout(max(0.01, self._valid_until_s - started_s)),
                    self._database.transaction() as tx,
                ):
                    renewed = await tx.scalar(renewal)
            except (ServiceError, TimeoutError) as error:
                if not self.is_valid:
                    raise LeaseLost from error
                await asyncio.sleep(jittered(self._duration_s / 30))
                continue
            if renewed is None:
                raise LeaseLost
            self._valid_until_s = started_s + self._duration_s
            return

    def _is_ours(self) -> ColumnElement[bool]:
        return (leases.c.subscription == self.subscription) & (leases.c.token == self.token)


@asynccontextmanager
async def leased(
    database: Database, subscription: str, *, duration_s: float = 5.0, poll_s: float = 1.0
) -> AsyncIterator[Lease]:
    """Wait until it is our turn, however long the database is away, and give the lease back when the block is left.

    The block has to run `Lease.keep` beside its work.

    Args:
        database: Where the lease is.
        subscription: Its name.
        duration_s: After which others may take it, unless it is renewed; done three times as often.
        poll_s: Time between looks at a lease that somebody else holds, about.
    """
    lease = Lease(database, subscription, duration_s=duration_s)
    failures = 0
    while True:
        try:
            wait_s = await lease.take()
            failures = 0
        except ServiceError as error:
            wait_s, failures = poll_s, failures + 1
            level = logging.WARNING if failures == 1 else logging.DEBUG
            _log.log(level, "cannot ask for a lease", extra={"reason": error.reason, "subscription": subscription})
        if not wait_s:
            break
        await asyncio.sleep(jittered(min(wait_s, poll_s)))
    try:
        yield lease
    finally:
        await lease.give_back()
