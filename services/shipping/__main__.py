"""Puts shipping together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shop.shipping.v1 import shipping_pb2

from services.chores import chore
from services.shipping.forgetting import handlers
from services.shipping.parcels import Parcels
from services.shipping.servicer import ShippingServicer
from services.shipping.simulated import SimulatedCarrier
from weft.config import load
from weft.data import Database
from weft.server import Parts, Runtime, Service, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Config", "service"]

BATCH: Final = 50
POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`SHIPPING_<FIELD>` in the environment."""

    carrier: str = "simulated"
    """Who carries parcels; there is no other yet."""
    carrier_step_s: float = 2.0
    """After how long the simulated carrier fetches a parcel, and after how long it then delivers it."""

    def __post_init__(self) -> None:
        if self.carrier != "simulated":
            raise ValueError("SHIPPING_CARRIER is not `simulated`")
        if not 0 <= self.carrier_step_s <= 30 * 86_400:
            raise ValueError("SHIPPING_CARRIER_STEP_S is not in [0, 2592000]")


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Parts]:
    config = load(Config, runtime.env, "SHIPPING")
    async with Database.open(runtime.database_url, application_name=runtime.name) as database:
        parcels = Parcels(database, SimulatedCarrier(), runtime.outbox)
        servicer = ShippingServicer(database, parcels)
        name = shipping_pb2.DESCRIPTOR.services_by_name["ShippingService"].full_name
        advance = partial(parcels.advance, step_s=config.carrier_step_s)
        moving = partial(chore, advance, name="move parcels", batch=BATCH, poll_s=POLL_S)
        yield Parts(servicers={name: servicer}, database=database, handlers=handlers(), background=[moving])


service = Service(name="shipping", build=build, migrations=Path(__file__).with_name("migrations"))

if __name__ == "__main__":
    run(service)
