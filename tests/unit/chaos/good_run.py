"""A run in which every promise held: one order delivered, one cancelled by its shopper, one refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from scripts.lib.chaos.evidence import (
    Answer,
    BrokerEvent,
    Charge,
    Evidence,
    Order,
    OutboxEvent,
    Payment,
    Request,
    Reservation,
    Saga,
    SagaEntry,
    Shipment,
    StockChange,
    StockLevel,
)

__all__ = ["ANNA", "BOUGHT", "CANCELLED", "GOOD", "NOON", "REFUSED", "entry", "event", "told"]

ANNA = "anna"
BOUGHT, CANCELLED, REFUSED = "order-bought", "order-cancelled", "order-refused"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EURO = 1_000_000_000


def told(
    call: str, order_id: str, state: str = "", reason: str = "", key: str = "", stream: int = 0, at_s: float = 1.0
) -> Answer:
    """Return an answer that took a second."""
    return Answer(
        asked_s=at_s - 1,
        at_s=at_s,
        call=call,
        user_id=ANNA,
        order_id=order_id,
        state=state,
        reason=reason,
        key=key,
        stream=stream,
    )


def event(number: int, kind: str, subject: str, source: str = "orders") -> OutboxEvent:
    return OutboxEvent(
        source=source,
        sequence=number,
        event_id=f"{source}-{number}",
        type=kind,
        subject=subject,
        time=NOON,
        is_published=True,
    )


def entry(saga_id: str, number: int, step: str, kind: str, holder: str = "one", seconds: float = 0.0) -> SagaEntry:
    time = NOON + timedelta(seconds=seconds or number / 100)
    return SagaEntry(saga_id=saga_id, number=number, time=time, step=step, kind=kind, attempt=1, holder=holder)


def moved(number: int, kind: str, order_id: str, on_hand: int, reserved: int, sold: int) -> StockChange:
    return StockChange(
        sku="MUG", number=number, kind=kind, order_id=order_id, on_hand=on_hand, reserved=reserved, sold=sold
    )


EVENTS = (
    event(1, "shop.orders.v1.OrderPlaced", BOUGHT),
    event(2, "shop.orders.v1.OrderConfirmed", BOUGHT),
    event(3, "shop.orders.v1.OrderShipped", BOUGHT),
    event(4, "shop.orders.v1.OrderDelivered", BOUGHT),
    event(5, "shop.orders.v1.OrderPlaced", CANCELLED),
    event(6, "shop.orders.v1.OrderConfirmed", CANCELLED),
    event(7, "shop.orders.v1.OrderCancelled", CANCELLED),
    event(8, "shop.orders.v1.OrderPlaced", REFUSED),
    event(9, "shop.orders.v1.OrderCancelled", REFUSED),
    event(1, "shop.shipping.v1.ShipmentDispatched", BOUGHT, "shipping"),
    event(2, "shop.shipping.v1.ShipmentDelivered", BOUGHT, "shipping"),
)

GOOD = Evidence(
    answers=(
        told("place", BOUGHT, "CONFIRMED", key="a-1"),
        told("place", BOUGHT, "CONFIRMED", key="a-1"),
        told("watch", BOUGHT, "CONFIRMED", stream=1),
        told("watch", BOUGHT, "SHIPPED", stream=1),
        told("place", CANCELLED, "PENDING", key="a-2"),
        told("place", CANCELLED, "CONFIRMED", key="a-2"),
        told("cancel", CANCELLED, "CANCELLED", "CANCELLED_BY_USER"),
        told("place", REFUSED, reason="PAYMENT_DECLINED", key="a-3"),
    ),
    requests={
        "a-1": Request(user_id=ANNA, payment_method="pm_test_accepted", lines={"MUG": 2}),
        "a-2": Request(user_id=ANNA, payment_method="pm_test_slow", lines={"MUG": 1}),
        "a-3": Request(user_id=ANNA, payment_method="pm_test_declined", lines={"MUG": 1}),
    },
    cancels=frozenset({CANCELLED}),
    stocked={"MUG": 10},
    orders=(
        Order(
            order_id=BOUGHT,
            user_id=ANNA,
            state="DELIVERED",
            cancel_reason="",
            total=29 * EURO,
            lines={"MUG": 2},
            was_confirmed=True,
            history=("placed", "confirmed", "shipped", "delivered"),
        ),
        Order(
            order_id=CANCELLED,
            user_id=ANNA,
            state="CANCELLED",
            cancel_reason="CANCELLED_BY_USER",
            total=14 * EURO,
            lines={"MUG": 1},
            was_confirmed=True,
            history=("placed", "confirmed", "cancellation_requested", "cancelled"),
        ),
        Order(
            order_id=REFUSED,
            user_id=ANNA,
            state="CANCELLED",
            cancel_reason="PAYMENT_DECLINED",
            total=14 * EURO,
            lines={"MUG": 1},
            history=("placed", "cancelled"),
        ),
    ),
    sagas=(
        Saga(saga_id=BOUGHT, order_id=BOUGHT, definition="place_order", status="DONE"),
        Saga(
            saga_id=REFUSED,
            order_id=REFUSED,
            definition="place_order",
            status="COMPENSATED",
            failure="PAYMENT_DECLINED",
        ),
    ),
    saga_log=(
        entry(BOUGHT, 1, "reserve_stock", "started"),
        entry(BOUGHT, 2, "reserve_stock", "done"),
        entry(BOUGHT, 3, "authorize_payment", "started"),
        entry(BOUGHT, 4, "authorize_payment", "lease_taken", holder="two", seconds=5),
        entry(BOUGHT, 5, "authorize_payment", "retried", holder="two", seconds=6),
        entry(BOUGHT, 6, "authorize_payment", "done", holder="three", seconds=7),
        entry(REFUSED, 1, "reserve_stock", "started"),
        entry(REFUSED, 2, "reserve_stock", "done"),
        entry(REFUSED, 3, "authorize_payment", "refused"),
        entry(REFUSED, 4, "reserve_stock", "compensating"),
        entry(REFUSED, 5, "reserve_stock", "compensated"),
    ),
    undoable={"place_order": frozenset({"reserve_stock", "authorize_payment"})},
    lease_s=2.0,
    payments=(
        Payment(order_id=BOUGHT, state="CAPTURED", amount=29 * EURO, refunded=0),
        Payment(order_id=CANCELLED, state="REFUNDED", amount=14 * EURO, refunded=14 * EURO),
        Payment(order_id=REFUSED, state="DECLINED", amount=14 * EURO, refunded=0),
    ),
    charges=(
        Charge(order_id=BOUGHT, authorisations=1, held=0, captured=29 * EURO, refunded=0),
        Charge(order_id=CANCELLED, authorisations=1, held=0, captured=14 * EURO, refunded=14 * EURO),
        Charge(order_id=REFUSED, authorisations=0, held=0, captured=0, refunded=0),
    ),
    levels=(StockLevel(sku="MUG", on_hand=8, reserved=0, sold=2),),
    changes=(
        moved(1, "adjusted", "", 10, 0, 0),
        moved(2, "reserved", BOUGHT, -2, 2, 0),
        moved(3, "committed", BOUGHT, 0, -2, 2),
        moved(4, "reserved", CANCELLED, -1, 1, 0),
        moved(5, "committed", CANCELLED, 0, -1, 1),
        moved(6, "returned", CANCELLED, 1, 0, -1),
        moved(7, "reserved", REFUSED, -1, 1, 0),
        moved(8, "released", REFUSED, 1, -1, 0),
    ),
    reservations=(
        Reservation(order_id=BOUGHT, state="COMMITTED"),
        Reservation(order_id=CANCELLED, state="RELEASED"),
        Reservation(order_id=REFUSED, state="RELEASED"),
    ),
    shipments=(
        Shipment(order_id=BOUGHT, shipment_id="sh-1", state="DELIVERED"),
        Shipment(order_id=CANCELLED, shipment_id="sh-2", state="CANCELLED"),
    ),
    outbox=EVENTS,
    subscriptions={"orders.shipments": ("shop.shipping.v1.ShipmentDispatched", "shop.shipping.v1.ShipmentDelivered")},
    inbox={"orders.shipments": {"shipping-1": NOON, "shipping-2": NOON}},
    on_broker=tuple(
        BrokerEvent(
            event_id=each.event_id, type=each.type, source=each.source, subject=each.subject, sequence=each.sequence
        )
        for each in EVENTS
    ),
)
