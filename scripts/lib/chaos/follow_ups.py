"""Reads the books of those who follow the orders: mails, invoices, reports, carts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from shop.catalog.v1 import events_pb2 as catalog
from shop.inventory.v1 import events_pb2 as inventory
from shop.orders.v1 import events_pb2 as orders
from shop.payments.v1 import events_pb2 as payments
from shop.shipping.v1 import events_pb2 as shipping
from shop.users.v1 import events_pb2 as users

from scripts.lib.chaos.databases import Databases
from scripts.lib.chaos.records import Invoice, Notice, Notification, Period, Person, Refund, Reports, Sold, Tax

__all__ = [
    "CENT",
    "NANOS",
    "about",
    "carts",
    "in_nanos",
    "invoices",
    "notices",
    "notifications",
    "people",
    "refunds",
    "reports",
    "taxes",
]

CENT: Final = 10_000_000
"""In nanos. The shop sells in euros; payments and the provider count in cents."""
NANOS: Final = 1_000_000_000
EVENTS: Final = (catalog, inventory, orders, payments, shipping, users)
TABLES: Final = ("offers", "purchases", "sold_lines", "sales", "sku_sales", "category_sales")
"""What analytics derives."""
SALES: Final = """
    SELECT period, sum(orders) AS orders, sum(units) AS units, sum(revenue) AS revenue, sum(captured) AS captured,
           sum(refunded) AS refunded
    FROM sales GROUP BY period
"""
SOLD: Final = """
    SELECT period, {key} AS key, sum(orders) AS orders, sum(units) AS units, sum(revenue) AS revenue
    FROM {table} GROUP BY period, {key}
"""


def about(event_type: str, data: bytes) -> Mapping[str, str]:
    """Return whom an event is about, and why it happened, as far as it says."""
    kind = _kinds().get(event_type)
    message = kind.FromString(data) if kind else None
    return {name: getattr(message, name, "") for name in ("user_id", "reason")}


def people(databases: Databases) -> Mapping[str, Person]:
    rows = databases.rows("users", "SELECT user_id::text, email, 'admin' = ANY(roles) AS is_admin FROM users")
    return {row["user_id"]: Person(**row) for row in rows}


def notices(databases: Databases) -> Iterator[Notice]:
    query = "SELECT event_id::text, template, coalesce(user_id, '') AS user_id FROM notices"
    for row in databases.rows("notifications", query):
        yield Notice(**row)


def notifications(databases: Databases) -> Iterator[Notification]:
    query = "SELECT notification_id::text, event_id::text, user_id, channel, upper(state) AS state FROM notifications"
    for row in databases.rows("notifications", query):
        yield Notification(**row)


def invoices(databases: Databases) -> Iterator[Invoice]:
    for row in databases.rows("payments", "SELECT * FROM invoices ORDER BY year, ordinal"):
        content = row["content"]
        yield Invoice(
            year=row["year"],
            ordinal=row["ordinal"],
            kind=row["kind"],
            order_id=str(row["order_id"]),
            issued_s=row["issue_time"].timestamp(),
            total=row["total_minor"] * CENT,
            sums=sum(line["unit_price_nanos"] * line["quantity"] for line in content["lines"])
            + content["shipping_nanos"],
            lines={line["sku"]: line["quantity"] for line in content["lines"]},
            taxes=tuple(
                Tax(rate_percent=tax["rate_percent"], gross=tax["gross_minor"] * CENT, tax=tax["tax_minor"] * CENT)
                for tax in content["taxes"]
            ),
            corrects=(row["corrects_year"], row["corrects_ordinal"]) if row["corrects_year"] is not None else None,
        )


def refunds(databases: Databases) -> Iterator[Refund]:
    query = "SELECT order_id, refunds.amount_minor, refunds.state FROM refunds JOIN payments USING (payment_id)"
    for row in databases.rows("payments", query):
        yield Refund(order_id=str(row["order_id"]), amount=row["amount_minor"] * CENT, state=row["state"].upper())


def reports(databases: Databases) -> Reports:
    sales = databases.rows("analytics", SALES)
    return Reports(
        sales={
            row["period"]: Period(
                orders=int(row["orders"]),
                units=int(row["units"]),
                revenue=_nanos(row["revenue"]),
                captured=_nanos(row["captured"]),
                refunded=_nanos(row["refunded"]),
            )
            for row in sales
        },
        by_sku=_sold(databases, "sku_sales", "sku"),
        by_category=_sold(databases, "category_sales", "category"),
        rows={table: _in_words(databases, table) for table in TABLES},
    )


def carts(databases: Databases, skus: Mapping[str, str]) -> Mapping[tuple[str, str], int]:
    """Return user and SKU -> units; *skus* are product id -> SKU."""
    rows = databases.rows("orders", "SELECT user_id, product_id::text, quantity FROM cart_items")
    return {(row["user_id"], skus[row["product_id"]]): row["quantity"] for row in rows}


def taxes(data: Iterable[Mapping[str, Any]]) -> tuple[Tax, ...]:
    """Return taxes as an order's row or a call's answer has them."""
    return tuple(
        Tax(
            rate_percent=each.get("rate_percent") or each.get("ratePercent", ""),
            gross=in_nanos(each["gross"]),
            tax=in_nanos(each["tax"]),
        )
        for each in data
    )


@cache
def _kinds() -> Mapping[str, type[Message]]:
    kinds = (GetMessageClass(kind) for each in EVENTS for kind in each.DESCRIPTOR.message_types_by_name.values())
    return {kind.DESCRIPTOR.full_name: kind for kind in kinds}


def _sold(databases: Databases, table: str, key: str) -> Mapping[tuple[str, str], Sold]:
    return {
        (row["period"], row["key"]): Sold(
            orders=int(row["orders"]), units=int(row["units"]), revenue=_nanos(row["revenue"])
        )
        for row in databases.rows("analytics", SOLD.format(table=table, key=key))
        if row["units"]
    }


def _in_words(databases: Databases, table: str) -> frozenset[str]:
    """Return the rows of *table*; a line of a rollup of which all was taken away again is none."""
    rows = databases.rows("analytics", f"SELECT * FROM {table}")  # noqa: S608  # one of those above
    return frozenset(
        " ".join(f"{name}={_plain(value)}" for name, value in row.items())
        for row in rows
        if row.get("units", 1) or row.get("captured") or row.get("refunded")
    )


def _plain(value: object) -> object:
    """Return a value as it is whatever it was made of: 10.50 is 10.5."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else value


def _nanos(amount: Decimal) -> int:
    return int(amount * NANOS)


def in_nanos(amount: Mapping[str, Any]) -> int:
    """Return an amount, as a row or an answer has it, in nanos."""
    return int(amount.get("units", 0)) * NANOS + int(amount.get("nanos", 0))
