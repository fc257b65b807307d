"""Puts orders together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shop.orders.v1 import orders_pb2

from services.chores import chore
from services.orders.carts import Carts
from services.orders.forgetting import handlers as forgetting_handlers
from services.orders.journal import Journal
from services.orders.ordering import Ordering
from services.orders.peers import Buyers, Inventory, Offers, Payments, Shipping
from services.orders.projections import rebuild
from services.orders.saga import Sagas
from services.orders.servicer import OrdersServicer
from services.orders.shipments import handlers as shipment_handlers
from services.orders.watching import Changes
from weft.data import Database
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["service"]

FORGET_BATCH: Final = 500
FORGET_POLL_S: Final = 600.0


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    async with Database.open(runtime.database_url, application_name=runtime.name) as database:
        peers, journal, changes = runtime.peers, Journal(runtime.outbox), Changes(database)
        offers, shipping = Offers(peers), Shipping(peers)
        carts = Carts(database, offers, shipping)
        sagas = Sagas(database, journal, Inventory(peers), Payments(peers), shipping, tracing=runtime.tracing)
        ordering = Ordering(database, journal, sagas, Buyers(peers), offers, shipping, changes)
        forgetting = [
            partial(chore, work, name=name, batch=FORGET_BATCH, poll_s=FORGET_POLL_S)
            for name, work in {"forget requests": ordering.forget, "forget carts": carts.forget}.items()
        ]
        name = orders_pb2.DESCRIPTOR.services_by_name["OrdersService"].full_name
        yield Parts(
            servicers={name: OrdersServicer(database, ordering, carts)},
            database=database,
            handlers={**shipment_handlers(journal), **forgetting_handlers()},
            background=[sagas.runner.work, changes.run, *forgetting],
        )


service = Service(name="orders", build=build, migrations=Path(__file__).with_name("migrations"), rebuild=rebuild)

if __name__ == "__main__":
    run(service)
