"""Puts inventory together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shop.inventory.v1 import inventory_pb2

from services.chores import chore
from services.inventory.servicer import InventoryServicer
from services.inventory.stockroom import Stockroom
from weft.config import load
from weft.data import Database
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Config", "service"]

BATCH: Final = 50
POLL_S: Final = 1.0
FORGET_BATCH: Final = 500
FORGET_POLL_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`INVENTORY_<FIELD>` in the environment."""

    reservation_s: float = 900.0
    """How long a reservation holds if nobody commits it: more than an order may take to be confirmed."""

    def __post_init__(self) -> None:
        if not 1 <= self.reservation_s <= 30 * 86_400:  # a second to a month
            raise ValueError("INVENTORY_RESERVATION_S is not in [1, 2592000]")


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    config = load(Config, runtime.env, "INVENTORY")
    async with Database.open(runtime.database_url, application_name=runtime.name) as database:
        stockroom = Stockroom(database, runtime.outbox, hold_s=config.reservation_s)
        servicer = InventoryServicer(database, stockroom)
        name = inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"].full_name
        background = [
            partial(chore, stockroom.expire, name="end expired reservations", batch=BATCH, poll_s=POLL_S),
            partial(chore, stockroom.forget, name="forget reservations", batch=FORGET_BATCH, poll_s=FORGET_POLL_S),
        ]
        yield Parts(servicers={name: servicer}, database=database, background=background)


service = Service(name="inventory", build=build, migrations=Path(__file__).with_name("migrations"))

if __name__ == "__main__":
    run(service)
