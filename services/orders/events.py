"""What happens to an order, and how it is written down: the history that an order is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeAlias
from uuid import UUID

from services.orders.money import Money

__all__ = [
    "Address",
    "CancellationRefused",
    "CancellationRequested",
    "Cancelled",
    "Confirmed",
    "Delivered",
    "Event",
    "Line",
    "Placed",
    "Returned",
    "Shipped",
    "Tax",
    "from_json",
    "to_json",
    "type_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One product of an order, as it was when the order was placed."""

    product_id: UUID
    sku: str
    name: str
    unit_price: Money
    quantity: int

    @property
    def total(self) -> Money:
        return self.unit_price.times(self.quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """A tax that a total contains."""

    rate_percent: str
    """A decimal number without needless zeros: `19`, `5.5`."""
    gross: Money
    """How much of the total has this rate, tax included."""
    tax: Money
    """How much of that is tax."""

    def to_json(self) -> dict[str, Any]:
        return {
            "rate_percent": self.rate_percent,
            "gross": self.gross._asdict(),
            "tax": self.tax._asdict(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tax:
        return cls(rate_percent=data["rate_percent"], gross=Money(**data["gross"]), tax=Money(**data["tax"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where somebody lives, so no `repr` tells it."""

    recipient: str = field(repr=False)
    street_lines: tuple[str, ...] = field(repr=False)
    postal_code: str = field(repr=False)
    city: str = field(repr=False)
    country_code: str
    """ISO 3166-1, two capital letters."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"street_lines": list(self.street_lines)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Address:
        return cls(
            recipient=data["recipient"],
            street_lines=tuple(data["street_lines"]),
            postal_code=data["postal_code"],
            city=data["city"],
            country_code=data["country_code"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Somebody wants to buy; whether they can is not known yet."""

    user_id: str
    lines: tuple[Line, ...]
    """At least one, all priced in one currency."""
    destination: Address | None
    """None in orders from before there were payments and shipments: nothing is held, paid or sent for them. Also None
    where nothing is under way any more and the user is forgotten."""
    shipping: Money | None
    """What sending it costs, in the currency of the lines; None in orders from before that was charged."""
    taxes: tuple[Tax, ...]
    """Contained in the prices of lines and shipping; none in orders from before they were told."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Goods are reserved and money is held: from here the order goes forward, or is called off as a whole."""


@dataclass(frozen=True, slots=True)
class CancellationRequested:
    """It is to be called off."""

    reason: str
    """Stable UPPER_SNAKE_CASE word, as all reasons here."""


@dataclass(frozen=True, slots=True)
class CancellationRefused:
    """It could not be called off any more, and is as certain as before."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It is off, and nothing of it remains to be undone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Shipped:
    """It is with the carrier."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """It is with its recipient."""


@dataclass(frozen=True, slots=True)
class Returned:
    """It came back."""


Event: TypeAlias = (
    Placed | Confirmed | CancellationRequested | CancellationRefused | Cancelled | Shipped | Delivered | Returned
)

_TYPES: Final[Mapping[str, type[Any]]] = {
    "placed": Placed,
    "confirmed": Confirmed,
    "cancellation_requested": CancellationRequested,
    "cancellation_refused": CancellationRefused,
    "cancelled": Cancelled,
    "shipped": Shipped,
    "delivered": Delivered,
    "returned": Returned,
}
"""Written into histories, so no name here ever changes."""
_NAMES: Final = {kind: name for name, kind in _TYPES.items()}


def type_of(event: Event) -> str:
    return _NAMES[type(event)]


def to_json(event: Event) -> dict[str, Any]:
    if isinstance(event, Placed):
        return {
            "user_id": event.user_id,
            "lines": [_line_to_json(line) for line in event.lines],
            "destination": event.destination.to_json() if event.destination else None,
            "shipping": event.shipping._asdict() if event.shipping else None,
            "taxes": [tax.to_json() for tax in event.taxes],
        }
    return asdict(event)


def from_json(type_name: str, data: Mapping[str, Any]) -> Event:
    """Return the event that was written as *data*. Raises KeyError for a type or a form that never was one."""
    if type_name == "placed":
        destination, shipping = data["destination"], data.get("shipping")
        return Placed(
            user_id=data["user_id"],
            lines=tuple(map(_line_from_json, data["lines"])),
            destination=Address.from_json(destination) if destination else None,
            shipping=Money(**shipping) if shipping else None,
            taxes=tuple(map(Tax.from_json, data.get("taxes", ()))),
        )
    event: Event = _TYPES[type_name](**data)
    return event


def _line_to_json(line: Line) -> dict[str, Any]:
    return {
        "product_id": str(line.product_id),
        "sku": line.sku,
        "name": line.name,
        "unit_price": line.unit_price._asdict(),
        "quantity": line.quantity,
    }


def _line_from_json(data: Mapping[str, Any]) -> Line:
    return Line(
        product_id=UUID(data["product_id"]),
        sku=data["sku"],
        name=data["name"],
        unit_price=Money(**data["unit_price"]),
        quantity=data["quantity"],
    )
