"""Messages as transports get them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.notifications.domain import Channel, Notification, State, Template
from services.notifications.rendering import Renderer
from services.notifications.transport import Message

ORDER = "3f2a9c1e-0000-4000-8000-000000000000"


def euros(units: int, nanos: int = 0) -> dict[str, Any]:
    return {"currency": "EUR", "units": units, "nanos": nanos}


FACTS: dict[str, Any] = {
    "lines": [{"sku": "MUG-BLUE", "name": "Stoneware mug, blue", "quantity": 3, "unit_price": euros(414, 500_000_000)}],
    "shipping": euros(4, 900_000_000),
    "total": euros(1248, 400_000_000),
    "amount": euros(5),
    "refunded": euros(6),
    "tracking_number": "SIM7",
    "on_hand": 3,
    "low_stock_threshold": 5,
}
"""All that any template asks for."""


def notification(number: int = 1, channel: Channel = Channel.EMAIL, **changes: Any) -> Notification:
    now = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    values: dict[str, Any] = {
        "notification_id": UUID(int=number),
        "event_id": UUID(int=number),
        "user_id": "ada",
        "template": Template.ORDER_CONFIRMED,
        "channel": channel,
        "language": "",
        "state": State.PENDING,
        "attempts": 1,
        "failure_reason": "",
        "subject": ORDER,
        "facts": FACTS,
        "create_time": now,
        "update_time": now,
    }
    return Notification(**(values | changes))


def message(address: str = "ada@example.com", *, first_name: str = "Ada", **changes: Any) -> Message:
    told = notification(**changes)
    rendered = Renderer("Weft Shop").render(
        told.template, subject=told.subject, facts=told.facts, first_name=first_name, language="de"
    )
    return Message(notification=told, address=address, rendered=rendered)
