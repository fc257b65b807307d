"""`shop.shipping.v1.ShippingService`."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from shop.shipping.v1 import shipping_pb2 as pb
from shop.shipping.v1 import shipping_pb2_grpc as pb_grpc

from services import paging
from services.exporting import every
from services.shipping import store
from services.shipping.domain import Action, Address, InvalidReport, Money, Shipment, ShipmentNotFound, State
from weft.call import caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.shipping.parcels import Parcels
    from weft.data import Database
    from weft.server import Context

__all__ = ["ShippingServicer"]

PAGE_SIZE: Final = 50
_PAGES: Final = "shipments"
_ADMIN: Final = "admin"
_STATES: Final = {state: pb.Shipment.State.Value(f"STATE_{state.name}") for state in State}
_REPORTS: Final = {
    pb.Shipment.STATE_IN_TRANSIT: Action.DISPATCH,
    pb.Shipment.STATE_DELIVERED: Action.DELIVER,
    pb.Shipment.STATE_RETURNED: Action.RETURN,
}


class ShippingServicer(pb_grpc.ShippingServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(self, database: Database, parcels: Parcels) -> None:
        self._database = database
        self._parcels = parcels

    async def QuoteShipment(self, request: pb.QuoteShipmentRequest, context: Context) -> pb.QuoteShipmentResponse:
        rate = await self._parcels.quote(request.destination.country_code, request.units)
        return pb.QuoteShipmentResponse(rate=_money(rate))

    async def ScheduleShipment(
        self, request: pb.ScheduleShipmentRequest, context: Context
    ) -> pb.ScheduleShipmentResponse:
        shipment = await self._parcels.schedule(
            UUID(request.order_id), request.user_id, _address(request.destination), request.units
        )
        return pb.ScheduleShipmentResponse(shipment=_message(shipment))

    async def CancelShipment(self, request: pb.CancelShipmentRequest, context: Context) -> pb.CancelShipmentResponse:
        await self._parcels.cancel(UUID(request.order_id))
        return pb.CancelShipmentResponse()

    async def GetShipment(self, request: pb.GetShipmentRequest, context: Context) -> pb.GetShipmentResponse:
        order_id, identity = UUID(request.order_id), caller()
        shipment = await store.find_shipment(self._database, order_id)
        if shipment is None or shipment.parcel is None:
            raise ShipmentNotFound(order_id=order_id)
        if identity.subject != shipment.parcel.user_id and _ADMIN not in identity.roles:
            raise ShipmentNotFound(order_id=order_id)
        return pb.GetShipmentResponse(shipment=_message(shipment))

    async def TrackShipment(self, request: pb.TrackShipmentRequest, context: Context) -> pb.TrackShipmentResponse:
        state, update_time = await store.get_progress(self._database, request.tracking_number)
        return pb.TrackShipmentResponse(state=_STATES[state], update_time=_timestamp(update_time))

    async def ListShipments(self, request: pb.ListShipmentsRequest, context: Context) -> pb.ListShipmentsResponse:
        size = request.page_size or PAGE_SIZE
        after = paging.decode(request.page_token, _PAGES, paging.time, UUID) if request.page_token else None
        shipments = await store.list_page(self._database, size + 1, after)
        token = ""
        if len(shipments) > size:
            token = paging.encode(_PAGES, *_position(shipments[size - 1]))
        return pb.ListShipmentsResponse(shipments=map(_message, shipments[:size]), next_page_token=token)

    async def ReportShipment(self, request: pb.ReportShipmentRequest, context: Context) -> pb.ReportShipmentResponse:
        action = _REPORTS.get(request.state)
        if action is None:
            raise InvalidReport
        shipment = await self._parcels.report(request.tracking_number, action)
        return pb.ReportShipmentResponse(shipment=_message(shipment))

    async def ExportUserData(
        self, request: pb.ExportUserDataRequest, context: Context
    ) -> AsyncIterator[pb.ExportUserDataResponse]:
        page = partial(store.list_of_user, self._database, str(UUID(request.user_id)))
        async for shipment in every(page, _position):
            response = pb.ExportUserDataResponse()
            response.item.Pack(_message(shipment))
            yield response


def _position(shipment: Shipment) -> tuple[datetime, UUID]:
    """Return where *shipment* is in a list of the newest first."""
    assert shipment.parcel, "only what was booked is listed"
    return shipment.parcel.create_time, shipment.shipment_id


def _message(shipment: Shipment) -> pb.Shipment:
    message = pb.Shipment(
        shipment_id=str(shipment.shipment_id),
        order_id=str(shipment.order_id),
        state=_STATES[shipment.state],
        update_time=_timestamp(shipment.update_time),
    )
    if parcel := shipment.parcel:
        message.tracking_number = parcel.booking.tracking_number
        message.rate.CopyFrom(_money(parcel.booking.rate))
        message.destination.CopyFrom(_destination(parcel.destination))
        message.create_time.CopyFrom(_timestamp(parcel.create_time))
    return message


def _address(address: pb.Address) -> Address:
    return Address(
        recipient=address.recipient,
        street_lines=tuple(address.street_lines),
        postal_code=address.postal_code,
        city=address.city,
        country_code=address.country_code,
    )


def _destination(address: Address) -> pb.Address:
    return pb.Address(
        recipient=address.recipient,
        street_lines=address.street_lines,
        postal_code=address.postal_code,
        city=address.city,
        country_code=address.country_code,
    )


def _money(money: Money) -> MoneyMessage:
    return MoneyMessage(currency_code=money.currency, units=money.units, nanos=money.nanos)


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
