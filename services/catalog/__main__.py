"""Puts the catalog together."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shop.catalog.v1 import catalog_pb2
from shop.inventory.v1 import events_pb2

from services.catalog.answers import Answers
from services.catalog.assortment import Assortment
from services.catalog.availability import Knowledge
from services.catalog.peers import Inventory
from services.catalog.servicer import CatalogServicer
from weft.config import load
from weft.data import Database
from weft.data.cache import open_cache
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Config", "service"]

CACHED_ANSWERS: Final = 2_000
"""A full page of products is some 50 kB, most answers are far smaller: at most 100 MB, usually below 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`CATALOG_<FIELD>` in the environment."""

    currency: str = "EUR"
    """ISO 4217 code of all prices; those of products that exist don't change with it."""
    cache_url: str = field(default="memory://", repr=False)
    """`memory://` for a cache in each replica, `redis://…` for one they share."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Z]{3}", self.currency):
            raise ValueError("CATALOG_CURRENCY is not an ISO 4217 code")


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    config = load(Config, runtime.env, "CATALOG")
    async with (
        Database.open(runtime.database_url, application_name=runtime.name) as database,
        open_cache(config.cache_url, namespace=runtime.name, database=database, max_entries=CACHED_ANSWERS) as cache,
    ):
        answers = Answers(cache)
        knowledge = Knowledge(database, Inventory(runtime.peers), answers)
        servicer = CatalogServicer(
            database,
            Assortment(database, runtime.outbox, answers),
            answers,
            currency=config.currency,
            is_fresh=knowledge.is_fresh,
        )
        name = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name
        yield Parts(
            servicers={name: servicer},
            database=database,
            handlers={events_pb2.AvailabilityChanged: knowledge.hear},
            background=[knowledge.run],
        )


service = Service(name="catalog", build=build, migrations=Path(__file__).with_name("migrations"))

if __name__ == "__main__":
    run(service)
