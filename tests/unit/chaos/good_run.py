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
from scripts.lib.chaos.records import (
    Invoice,
    Mail,
    Notice,
    Notification,
    Period,
    Person,
    Quote,
    Refund,
    Reports,
    Sold,
    Tax,
)

__all__ = [
    "ADMIN",
    "ANNA",
    "BOUGHT",
    "CANCELLED",
    "CENT",
    "EURO",
    "GOOD",
    "NOON",
    "REFUSED",
    "entry",
    "event",
    "mail",
    "told",
]

ANNA, ADMIN = "anna", "admin"
BOUGHT, CANCELLED, REFUSED = "order-bought", "order-cancelled", "order-refused"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EURO = 1_000_000_000
CENT = EURO // 100
PERIODS = ("slot", "day", "month", "year")
TOLD_BY_MAIL = {
    "UserRegistered": "welcome",
    "OrderConfirmed": "order_confirmed",
    "ShipmentDispatched": "order_shipped",
    "ShipmentDelivered": "order_delivered",
    "PaymentRefunded": "refunded",
    "StockLow": "stock_low",
}


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


def event(
    number: int, kind: str, subject: str, source: str = "orders", *, user_id: str = ANNA, reason: str = ""
) -> OutboxEvent:
    return OutboxEvent(
        source=source,
        sequence=number,
        event_id=f"{source}-{number}",
        type=kind,
        subject=subject,
        time=NOON,
        is_published=True,
        user_id=user_id,
        reason=reason,
    )


def mail(event_id: str, user_id: str = ANNA) -> Mail:
    """Return the mail of a notice to a user."""
    address = f"{user_id}@example.com"
    name = f"{event_id}-{user_id}"
    return Mail(
        message_id=f"<{name}@shop>", notification_id=name, recipients=(address,), to=address, digest=f"digest of {name}"
    )


def taxed(euros: int) -> tuple[Tax, ...]:
    """Return what a total of so many euros contains at 19 %."""
    return (Tax(rate_percent="19", gross=euros * EURO, tax=round(euros * 100 * 19 / 119) * CENT),)


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
    event(7, "shop.orders.v1.OrderCancelled", CANCELLED, reason="CANCELLED_BY_USER"),
    event(8, "shop.orders.v1.OrderPlaced", REFUSED),
    event(9, "shop.orders.v1.OrderCancelled", REFUSED, reason="PAYMENT_DECLINED"),
    event(1, "shop.shipping.v1.ShipmentDispatched", BOUGHT, "shipping"),
    event(2, "shop.shipping.v1.ShipmentDelivered", BOUGHT, "shipping"),
    event(1, "shop.payments.v1.PaymentRefunded", CANCELLED, "payments"),
    event(1, "shop.users.v1.UserRegistered", ANNA, "users"),
    event(1, "shop.inventory.v1.StockLow", "MUG", "inventory", user_id=""),
)
NOTICES = tuple(
    Notice(
        event_id=each.event_id,
        template="payment_failed" if each.reason else TOLD_BY_MAIL[each.type.rpartition(".")[2]],
        user_id=each.user_id,
    )
    for each in EVENTS
    if each.type.rpartition(".")[2] in TOLD_BY_MAIL or each.reason == "PAYMENT_DECLINED"
)
NOTIFICATIONS = tuple(
    Notification(
        notification_id=f"{each.event_id}-{each.user_id or ADMIN}",
        event_id=each.event_id,
        user_id=each.user_id or ADMIN,
        channel="email",
        state="SENT",
    )
    for each in NOTICES
)
MAILS = tuple(mail(each.event_id, each.user_id) for each in NOTIFICATIONS)
REPORTS = Reports(
    sales=dict.fromkeys(PERIODS, Period(orders=2, units=3, revenue=33 * EURO, captured=43 * EURO, refunded=14 * EURO)),
    by_sku={(period, "MUG"): Sold(orders=2, units=3, revenue=33 * EURO) for period in PERIODS},
    by_category={(period, "kitchen"): Sold(orders=2, units=3, revenue=33 * EURO) for period in PERIODS},
    rows={"purchases": frozenset({"order_id=1", "order_id=2"})},
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
        "a-1": Request(
            user_id=ANNA, payment_method="pm_test_accepted", lines={"MUG": 2}, is_from_cart=True, total=29 * EURO
        ),
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
            shipping=7 * EURO,
            goods={"MUG": 22 * EURO},
            taxes=taxed(29),
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
            shipping=3 * EURO,
            goods={"MUG": 11 * EURO},
            taxes=taxed(14),
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
            shipping=3 * EURO,
            goods={"MUG": 11 * EURO},
            taxes=taxed(14),
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
    people={
        ANNA: Person(user_id=ANNA, email="anna@example.com", is_admin=False),
        ADMIN: Person(user_id=ADMIN, email="admin@example.com", is_admin=True),
    },
    notices=NOTICES,
    notifications=NOTIFICATIONS,
    mails=MAILS,
    invoices=(
        Invoice(
            year=2026, ordinal=1, kind="invoice", order_id=BOUGHT, issued_s=1.0, total=29 * EURO, sums=29 * EURO,
            lines={"MUG": 2}, taxes=taxed(29),
        ),
        Invoice(
            year=2026, ordinal=2, kind="invoice", order_id=CANCELLED, issued_s=2.0, total=14 * EURO, sums=14 * EURO,
            lines={"MUG": 1}, taxes=taxed(14),
        ),
        Invoice(
            year=2026, ordinal=3, kind="credit_note", order_id=CANCELLED, issued_s=2.0, total=14 * EURO,
            sums=14 * EURO, lines={"": 1}, taxes=taxed(14), corrects=(2026, 2),
        ),
    ),
    refunds=(
        Refund(order_id=CANCELLED, amount=14 * EURO, state="DONE"),
        Refund(order_id=CANCELLED, amount=99 * EURO, state="REFUSED"),
    ),
    reports=REPORTS,
    rebuilt=REPORTS,
    shown={"MUG": frozenset({"IN_STOCK"}), "UNSTOCKED": frozenset({"UNSPECIFIED"})},
    added={(ANNA, "MUG"): 5, (ANNA, "PEN"): 1},
    removed=frozenset({(ANNA, "PEN")}),
    carts={(ANNA, "MUG"): 3},
    quotes=(Quote(user_id=ANNA, number=1, goods=22 * EURO, shipping=7 * EURO, total=29 * EURO, taxes=taxed(29)),),
)  # fmt: skip
