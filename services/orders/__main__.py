"""Puts orders together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shop.orders.v1 import orders_pb2

from services.orders.peers import Buyers, Offers
from services.orders.servicer import OrdersServicer
from weft.data import Database
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["service"]


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    async with Database.open(runtime.database_url, application_name=runtime.name) as database:
        servicer = OrdersServicer(database, Buyers(runtime.peers), Offers(runtime.peers))
        name = orders_pb2.DESCRIPTOR.services_by_name["OrdersService"].full_name
        yield Parts(servicers={name: servicer}, database=database)


service = Service(name="orders", build=build, migrations=Path(__file__).with_name("migrations"))

if __name__ == "__main__":
    run(service)
