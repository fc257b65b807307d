"""Shipping at work for tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from google.protobuf.message import Message
from shop.shipping.v1 import events_pb2, shipping_pb2_grpc
from shop.shipping.v1 import shipping_pb2 as pb
from sqlalchemy import text

from services.shipping.domain import CarrierUnavailable
from services.shipping.parcels import Parcels
from services.shipping.servicer import ShippingServicer
from services.shipping.simulated import SimulatedCarrier
from tests.mesh.services.calls import KEY, Calls
from weft.events import Outbox
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from services.shipping.domain import Address, Booking, Money
    from weft.data import Database

NAME = "shop.shipping.v1.ShippingService"
STEP_S = 60.0
SECRETS = ("Ada Lovelace", "St James's Square 12", "SW1Y 4JH", "Marylebone")
"""Of an address: nobody but the carrier, the recipient and administrators gets to see them."""


class TestCarrier(SimulatedCarrier):
    """A carrier that remembers what it was asked for, is away when told, and takes its time when told."""

    __test__ = False

    def __init__(self) -> None:
        self.parcels: dict[UUID, Booking] = {}
        self.cancelled: set[str] = set()
        self.is_away = False
        self.booked: Callable[[], Awaitable[object]] | None = None
        """Awaited once, after a parcel was booked and before anybody hears of it."""

    @property
    def carried(self) -> set[str]:
        """Tracking numbers of what is to be carried."""
        return {booking.tracking_number for booking in self.parcels.values()} - self.cancelled

    async def quote(self, country_code: str, units: int) -> Money:
        self._answer()
        return await super().quote(country_code, units)

    async def book(self, order_id: UUID, destination: Address, units: int) -> Booking:
        self._answer()
        booking = self.parcels[order_id] = await super().book(order_id, destination, units)
        booked, self.booked = self.booked, None
        if booked:
            await booked()
        return booking

    async def find(self, order_id: UUID) -> str | None:
        self._answer()
        return self.parcels[order_id].tracking_number if order_id in self.parcels else None

    async def cancel(self, tracking_number: str) -> None:
        self._answer()
        self.cancelled.add(tracking_number)

    def _answer(self) -> None:
        if self.is_away:
            raise CarrierUnavailable


@dataclass(frozen=True, kw_only=True)
class Shipping:
    """One replica of the shipping service at work. Parcels don't move by themselves: tests say when."""

    server: TestServer
    database: Database
    carrier: TestCarrier
    parcels: Parcels
    user_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def orders(self) -> Calls:
        """Calls as the orders service makes them."""
        return Calls(self._stub, self.server.service_token("orders"))

    @property
    def owner(self) -> Calls:
        return Calls(self._stub, self.server.token(self.user_id))

    @property
    def admin(self) -> Calls:
        return Calls(self._stub, self.server.token("root", ("user", "admin")))

    @property
    def anybody(self) -> Calls:
        return Calls(self._stub)

    @property
    def _stub(self) -> shipping_pb2_grpc.ShippingServiceStub:
        return shipping_pb2_grpc.ShippingServiceStub(self.server.channel)

    def request(self, order_id: str, **fields: Any) -> pb.ScheduleShipmentRequest:
        values: dict[str, Any] = {"order_id": order_id, "user_id": self.user_id, "destination": address(), "units": 3}
        return pb.ScheduleShipmentRequest(**(values | fields))

    async def quote(self, country_code: str = "GB", units: int = 3) -> Any:
        """Return the rate."""
        destination = pb.Destination(country_code=country_code)
        return (await self.orders.QuoteShipment(pb.QuoteShipmentRequest(destination=destination, units=units))).rate

    async def schedule(self, order_id: str, **fields: Any) -> Any:
        return (await self.orders.ScheduleShipment(self.request(order_id, **fields))).shipment

    async def scheduled(self) -> Any:
        """Book a new order's parcel; return the shipment."""
        return await self.schedule(str(uuid4()))

    async def cancel(self, order_id: str, request_id: str = "") -> None:
        await self.orders.CancelShipment(pb.CancelShipmentRequest(order_id=order_id, request_id=request_id))

    async def report(self, tracking_number: str, state: str) -> Any:
        """Report a state, `IN_TRANSIT`; return the shipment."""
        value = pb.Shipment.State.Value(f"STATE_{state}")
        request = pb.ReportShipmentRequest(tracking_number=tracking_number, state=value)
        return (await self.admin.ReportShipment(request)).shipment

    async def track(self, tracking_number: str) -> str:
        response = await self.anybody.TrackShipment(pb.TrackShipmentRequest(tracking_number=tracking_number))
        return pb.Shipment.State.Name(response.state).removeprefix("STATE_")

    async def events(self, order_id: str) -> list[Message]:
        """Return what was published about an order, in order."""
        async with self.database.transaction() as tx:
            rows: Any = await tx.all(
                text("select type, data from outbox where subject = :id order by sequence").bindparams(id=order_id)
            )
        return [getattr(events_pb2, name.rsplit(".", 1)[1]).FromString(data) for name, data in rows]

    async def told(self, order_id: str) -> list[str]:
        """Return the names of the events published about an order, in order."""
        return [type(event).__name__ for event in await self.events(order_id)]

    async def let_pass(self, seconds: float) -> None:
        """Let time pass for all parcels."""
        async with self.database.transaction() as tx:
            await tx.execute(
                text("update shipments set update_time = update_time - make_interval(secs => :s)").bindparams(s=seconds)
            )

    async def step(self, *, limit: int = 100) -> int:
        """Let a step's time pass, and have the simulated carrier move what is then due."""
        await self.let_pass(STEP_S)
        return await self.parcels.advance(step_s=STEP_S, limit=limit)


def address(country_code: str = "GB") -> pb.Address:
    recipient, street, postal_code, city = SECRETS
    return pb.Address(
        recipient=recipient, street_lines=[street], postal_code=postal_code, city=city, country_code=country_code
    )


@asynccontextmanager
async def replica(database: Database, carrier: TestCarrier) -> AsyncIterator[Shipping]:
    parcels = Parcels(database, carrier, Outbox("shipping"))
    async with serving({NAME: ShippingServicer(database, parcels)}, database=database, key=KEY) as server:
        yield Shipping(server=server, database=database, carrier=carrier, parcels=parcels)
