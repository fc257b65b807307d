"""Puts analytics together."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shop.analytics.v1 import analytics_pb2

from services.analytics.behaviour_store import forget
from services.analytics.download import MOST_AT_ONCE, Downloads
from services.analytics.hearing import handlers
from services.analytics.intake import Intake
from services.analytics.projections import rebuild
from services.analytics.servicer import AnalyticsServicer
from services.chores import chore
from weft.config import load
from weft.data import Database
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Config", "service"]

CONNECTIONS: Final = 3 + MOST_AT_ONCE
"""For writing: events and what shoppers did take turns, and each download keeps one."""
FORGET_BATCH: Final = 1000
FORGET_POLL_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`ANALYTICS_<FIELD>` in the environment."""

    currency: str = "EUR"
    """ISO 4217 code of the shop's only currency. What was kept in another is not converted: keep it as it is."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Z]{3}", self.currency):
            raise ValueError("ANALYTICS_CURRENCY is not an ISO 4217 code")


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    config = load(Config, runtime.env, "ANALYTICS")
    async with Database.open(runtime.database_url, application_name=runtime.name, pool_size=CONNECTIONS) as database:
        intake, downloads = Intake(database), Downloads(database, config.currency)
        forgetting = partial(
            chore, partial(forget, database), name="forget behaviour", batch=FORGET_BATCH, poll_s=FORGET_POLL_S
        )
        name = analytics_pb2.DESCRIPTOR.services_by_name["AnalyticsService"].full_name
        try:
            yield Parts(
                servicers={name: AnalyticsServicer(database, intake, downloads, currency=config.currency)},
                database=database,
                handlers=handlers(config.currency),
                background=[intake.run, forgetting],
            )
        finally:
            await intake.flush()


service = Service(name="analytics", build=build, migrations=Path(__file__).with_name("migrations"), rebuild=rebuild)

if __name__ == "__main__":
    run(service)
