"""Shipments: where an order's parcel is, and what may become of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from weft.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

__all__ = [
    "AT_REST",
    "FORWARD",
    "Action",
    "Address",
    "Booking",
    "CarrierUnavailable",
    "DestinationNotServed",
    "IllegalTransition",
    "InvalidReport",
    "Money",
    "Parcel",
    "Shipment",
    "ShipmentCancelled",
    "ShipmentDispatched",
    "ShipmentNotFound",
    "State",
]

RETRY_AFTER_S: Final = 1.0


class ShipmentNotFound(NotFound):
    """There is no such shipment, or the caller may not know that there is."""

    def __init__(self, **which: Any) -> None:
        """Take what it was looked for by, `order_id` or `tracking_number`."""
        super().__init__("no such shipment", **which)


class ShipmentCancelled(FailedPrecondition):
    """The order's shipment was called off, perhaps before it was booked."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"the shipment of order {order_id} is cancelled", order_id=order_id)


class ShipmentDispatched(FailedPrecondition):
    """The carrier has fetched the parcel."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"the shipment of order {order_id} has left", order_id=order_id)


class DestinationNotServed(FailedPrecondition):
    """The carrier does not go there."""

    def __init__(self) -> None:
        violation = Violation("destination.countryCode", "is not a country that the carrier serves")
        super().__init__("the carrier does not serve this destination", violations=[violation])


class CarrierUnavailable(Unavailable):
    """The carrier can't be asked; a repeat books nothing twice."""

    def __init__(self) -> None:
        super().__init__("the carrier can't be reached", retry_after_s=RETRY_AFTER_S)


class IllegalTransition(FailedPrecondition):
    """The shipment's state does not allow it."""


class InvalidReport(InvalidArgument):
    """No carrier reports this state."""

    def __init__(self) -> None:
        violation = Violation("state", "must be STATE_IN_TRANSIT, STATE_DELIVERED or STATE_RETURNED")
        super().__init__("a carrier does not report this state", violations=[violation])


class Money(NamedTuple):
    """A sum in a currency (ISO 4217): whole units, and nano units in [0, 999,999,999]. Never negative."""

    currency: str
    units: int
    nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to. Personal, so its text form says nothing of it. What is forgotten has its country only."""

    recipient: str = field(repr=False)
    street_lines: tuple[str, ...] = field(repr=False)
    postal_code: str = field(repr=False)
    city: str = field(repr=False)
    country_code: str = field(repr=False)

    def forgotten(self) -> Address:
        """Return what may be known of it when nobody may know who lives there."""
        return Address(recipient="", street_lines=(), postal_code="", city="", country_code=self.country_code)


class Booking(NamedTuple):
    """What the carrier says when it takes an order's parcel."""

    tracking_number: str
    rate: Money


class State(StrEnum):
    """Where a parcel is."""

    CREATED = "created"
    IN_TRANSIT = "in_transit"
    DELIVERED = "delivered"
    RETURNED = "returned"
    CANCELLED = "cancelled"


class Action(StrEnum):
    """What may be done with a parcel."""

    DISPATCH = "dispatch"
    DELIVER = "deliver"
    RETURN = "return"
    CANCEL = "cancel"


TRANSITIONS: Final[Mapping[tuple[State, Action], State]] = {
    (State.CREATED, Action.DISPATCH): State.IN_TRANSIT,
    (State.CREATED, Action.CANCEL): State.CANCELLED,
    (State.IN_TRANSIT, Action.DISPATCH): State.IN_TRANSIT,
    (State.IN_TRANSIT, Action.DELIVER): State.DELIVERED,
    (State.IN_TRANSIT, Action.RETURN): State.RETURNED,
    (State.DELIVERED, Action.DELIVER): State.DELIVERED,
    (State.DELIVERED, Action.RETURN): State.RETURNED,
    (State.RETURNED, Action.RETURN): State.RETURNED,
    (State.CANCELLED, Action.CANCEL): State.CANCELLED,
}
"""What is missing here is not allowed; what leads to where it started changes nothing."""

FORWARD: Final[Mapping[State, Action]] = {State.CREATED: Action.DISPATCH, State.IN_TRANSIT: Action.DELIVER}
"""What comes next when nothing comes between."""

AT_REST: Final = frozenset(State) - FORWARD.keys()
"""Where no carrier needs an address any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What the carrier carries. Never changes, but for an address that is forgotten."""

    user_id: str
    booking: Booking
    destination: Address
    create_time: datetime
    """When it was booked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """An order's shipment. One without a parcel is a closed door: the order was called off before it was booked."""

    shipment_id: UUID
    order_id: UUID
    state: State
    parcel: Parcel | None
    update_time: datetime
    """When its state last changed."""

    @classmethod
    def of(cls, parcel: Parcel, *, shipment_id: UUID, order_id: UUID) -> Shipment:
        """Return the shipment of a parcel that was just booked."""
        return cls(
            shipment_id=shipment_id,
            order_id=order_id,
            state=State.CREATED,
            parcel=parcel,
            update_time=parcel.create_time,
        )

    @classmethod
    def closed_door(cls, *, shipment_id: UUID, order_id: UUID, now: datetime) -> Shipment:
        """Return what keeps an order's parcel from being booked."""
        return cls(shipment_id=shipment_id, order_id=order_id, state=State.CANCELLED, parcel=None, update_time=now)

    def apply(self, action: Action, *, now: datetime) -> Shipment:
        """Return the shipment after *action*; where that changes nothing, the shipment itself.

        Raises:
            ShipmentDispatched: it has left and can't be called off.
            IllegalTransition: its state does not allow it for another reason.
        """
        state = TRANSITIONS.get((self.state, action))
        if state is None and action is Action.CANCEL:
            raise ShipmentDispatched(self.order_id)
        if state is None:
            raise IllegalTransition(f"a shipment that is {self.state} can't {action}", state=self.state, action=action)
        return self if state is self.state else replace(self, state=state, update_time=now)

    def forgotten(self) -> Shipment:
        """Return what is kept of it once its user is forgotten: with the address as long as it is under way."""
        if self.parcel is None or self.state not in AT_REST:
            return self
        return replace(self, parcel=replace(self.parcel, destination=self.parcel.destination.forgotten()))

    def require_open(self) -> Shipment:
        """Return the shipment itself. Raises ShipmentCancelled."""
        if self.state is State.CANCELLED:
            raise ShipmentCancelled(self.order_id)
        return self
