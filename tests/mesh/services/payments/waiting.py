"""What tests wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tests.mesh.services.calls import outcome

if TYPE_CHECKING:
    from tests.mesh.services.payments.parts import Simulator
    from weft.data import Database

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def repeated(call: Callable[[], Awaitable[Any]]) -> Any:
    """Make *call*, which may be refused as uncertain, until it isn't; return its outcome."""
    async with asyncio.timeout(30):
        while (answer := await outcome(call())) == "PAYMENT_UNCERTAIN":
            await asyncio.sleep(0.02)
    return answer


async def is_pending(database: Database, order_id: str) -> bool:
    async with database.transaction() as tx:
        wanted = text("select pending from payments where order_id = cast(:id as uuid)").bindparams(id=order_id)
        return await tx.scalar(wanted) is not None


async def is_held(simulator: Simulator, order_id: str) -> bool:
    return (await simulator.account(order_id)).get("standing") == "held"
