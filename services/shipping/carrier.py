"""A carrier, as shipping knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from services.shipping.domain import Address, Booking, Money

__all__ = ["Carrier"]


class Carrier(Protocol):
    """Knows each parcel by the order it is for, so that whatever is asked of it twice is done once."""

    async def quote(self, country_code: str, units: int) -> Money:
        """Return what carrying *units*, at least 1, to a country costs; nothing is booked.

        Raises:
            DestinationNotServed: it does not go there.
            CarrierUnavailable: it can't be asked.
        """

    async def book(self, order_id: UUID, destination: Address, units: int) -> Booking:
        """Have an order's parcel carried at the rate that `quote` names; a repeat returns the same booking.

        Args:
            order_id: What the parcel holds.
            destination: Where to.
            units: How many units are in it, at least 1.

        Raises:
            DestinationNotServed: it does not go there.
            CarrierUnavailable: it can't be asked; the parcel may have been booked.
        """

    async def find(self, order_id: UUID) -> str | None:
        """Return the tracking number of an order's parcel, if one is booked. Raises CarrierUnavailable."""

    async def cancel(self, tracking_number: str) -> None:
        """Have a parcel left where it is; a repeat changes nothing.

        Raises:
            ShipmentDispatched: it has been fetched.
            CarrierUnavailable: it can't be asked; the parcel may have been cancelled.
        """
