"""Reads every part's own books, as they stand."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Final

import aiohttp
import psycopg2

from scripts.lib.chaos import follow_ups
from scripts.lib.chaos.brokers import Broker
from scripts.lib.chaos.databases import Databases
from scripts.lib.chaos.evidence import (
    BrokerEvent,
    Charge,
    DeadLetter,
    Evidence,
    Order,
    OutboxEvent,
    Payment,
    Reservation,
    Saga,
    SagaEntry,
    Shipment,
    StockChange,
    StockLevel,
)
from scripts.lib.chaos.follow_ups import CENT, NANOS
from scripts.lib.chaos.mesh import ROOT, ChaosFailed, Mesh
from scripts.lib.chaos.post import Post
from scripts.lib.chaos.provider import Provider
from scripts.lib.chaos.records import Reports
from scripts.lib.chaos.told import Shelf, Told
from weft.contract import load_image, read_contract

__all__ = ["Books"]

LEASE_S: Final = 1.5
"""A replica holds a saga for the longest time of its step and that much more."""
UNDOABLE: Final = {"place_order": frozenset({"reserve_stock", "authorize_payment"})}
"""Steps that leave something behind at another service."""
UNDER_WAY: Final = {
    "sagas": ("orders", "SELECT count(*) FROM sagas WHERE status IN ('running', 'compensating')"),
    "orders undecided": ("orders", "SELECT count(*) FROM orders WHERE state IN ('pending', 'cancelling')"),
    "payments unsettled": (
        "payments",
        "SELECT count(*) FROM payments WHERE pending IS NOT NULL OR state IN ('authorizing', 'authorized')",
    ),
    "reservations": ("inventory", "SELECT count(*) FROM reservations WHERE state = 'reserved'"),
    "parcels on their way": ("shipping", "SELECT count(*) FROM shipments WHERE state IN ('created', 'in_transit')"),
    "notices": ("notifications", "SELECT count(*) FROM notices WHERE due_time IS NOT NULL"),
    "mails": ("notifications", "SELECT count(*) FROM notifications WHERE state = 'pending'"),
}
"""What there is less and less of while a run comes to rest: whose, and how many."""
LEVELS: Final = "SELECT sku, on_hand, reserved, sold, low_stock_threshold AS threshold FROM stock"
OUTBOX: Final = (
    "SELECT sequence, event_id, type, source, subject, time, publish_time, data FROM outbox ORDER BY sequence"
)


class Books:
    """What there is to read after a run, and to look at while it comes to rest."""

    def __init__(self, mesh: Mesh, provider: Provider, broker: Broker, post: Post) -> None:
        self._mesh = mesh
        self._post = post
        self._databases = Databases(mesh.record.database_urls)
        self._provider = provider
        self._broker = broker

    async def under_way(self) -> Mapping[str, int]:
        """Return what has not come to rest -> how much of it."""
        with _explained():
            counts = await asyncio.to_thread(self._under_way)
            accounts = (await self._provider.ledger()).values()
        held = sum(each["authorised"] > each["captured"] + each["voided"] for each in accounts)
        return {**counts, "authorisations held": held}

    async def stuck(self) -> Mapping[str, str]:
        """Return saga that waits for a person -> why."""
        with _explained():
            sagas = await asyncio.to_thread(lambda: list(self._sagas()))
        return {each.saga_id: each.failure for each in sagas if each.status == "STUCK"}

    async def rebuilt(self) -> tuple[Reports, Reports]:
        """Have the reports derived anew; return what they said before and what they say now."""
        with _explained():
            before = await asyncio.to_thread(follow_ups.reports, self._databases)
            await self._mesh.weft("rebuild", "analytics")
            return before, await asyncio.to_thread(follow_ups.reports, self._databases)

    async def evidence(
        self, told: Told, stocked: Mapping[str, int], shelf: Shelf, shown: Mapping[str, frozenset[str]]
    ) -> Evidence:
        """Read everything there is; *shown* is what the catalog says of it."""
        reports, rebuilt = await self.rebuilt()
        on_broker, dead_letters = (
            await self._broker.events(self._mesh),
            await self._broker.dead_letters(self._mesh, subscriptions()),
        )
        with _explained():
            accounts = await self._provider.ledger()
            evidence = await asyncio.to_thread(self._evidence, told, stocked, shelf, on_broker, dead_letters, accounts)
        return replace(evidence, reports=reports, rebuilt=rebuilt, shown=shown)

    def _evidence(
        self,
        told: Told,
        stocked: Mapping[str, int],
        shelf: Shelf,
        on_broker: tuple[BrokerEvent, ...],
        dead_letters: tuple[DeadLetter, ...],
        accounts: Mapping[str, Mapping[str, Any]],
    ) -> Evidence:
        return Evidence(
            answers=tuple(told.answers),
            requests=told.requests,
            cancels=frozenset(told.cancels),
            stocked=stocked,
            scarce=frozenset(shelf.scarce),
            orders=tuple(self._orders()),
            sagas=tuple(self._sagas()),
            saga_log=tuple(self._saga_log()),
            undoable=UNDOABLE,
            lease_s=LEASE_S,
            payments=tuple(self._payments()),
            cards_kept=frozenset(self._cards_kept()),
            charges=tuple(_charge(reference, account) for reference, account in accounts.items()),
            levels=tuple(self._levels()),
            changes=tuple(self._changes()),
            reservations=tuple(self._reservations()),
            shipments=tuple(self._shipments()),
            outbox=tuple(self._outbox()),
            subscriptions=subscriptions(),
            inbox=self._inbox(),
            on_broker=on_broker,
            dead_letters=dead_letters,
            began=told.began,
            people=follow_ups.people(self._databases),
            notices=tuple(follow_ups.notices(self._databases)),
            notifications=tuple(follow_ups.notifications(self._databases)),
            mails=self._post.mails(),
            invoices=tuple(follow_ups.invoices(self._databases)),
            refunds=tuple(follow_ups.refunds(self._databases)),
            added=dict(told.added),
            removed=frozenset(told.removed),
            carts=follow_ups.carts(self._databases, shelf.skus()),
            quotes=tuple(told.quotes),
        )

    def _under_way(self) -> dict[str, int]:
        counts = {what: self._databases.count(service, query) for what, (service, query) in UNDER_WAY.items()}
        events, inbox = list(self._outbox()), self._inbox()
        unapplied = (
            each.type in types and each.event_id not in inbox[name]
            for name, types in subscriptions().items()
            for each in events
        )
        return counts | {
            "events unpublished": sum(not each.is_published for each in events),
            "events not applied": sum(unapplied),
        }

    def _orders(self) -> Iterator[Order]:
        lines: dict[str, dict[str, int]] = defaultdict(dict)
        goods: dict[str, dict[str, int]] = defaultdict(dict)
        for row in self._databases.rows("orders", "SELECT * FROM order_lines"):
            order_id, price = str(row["order_id"]), row["price_units"] * NANOS + row["price_nanos"]
            lines[order_id][row["sku"]] = row["quantity"]
            goods[order_id][row["sku"]] = row["quantity"] * price
        history: dict[str, list[str]] = defaultdict(list)
        for row in self._databases.rows("orders", "SELECT order_id, type FROM order_events ORDER BY order_id, version"):
            history[str(row["order_id"])].append(row["type"])
        for row in self._databases.rows("orders", "SELECT * FROM orders ORDER BY create_time"):
            order_id = str(row["order_id"])
            yield Order(
                order_id=order_id,
                user_id=row["user_id"],
                state=row["state"].upper(),
                cancel_reason=row["cancel_reason"],
                total=row["total_units"] * NANOS + row["total_nanos"],
                lines=lines[order_id],
                shipping=row["shipping_units"] * NANOS + row["shipping_nanos"],
                goods=goods[order_id],
                taxes=follow_ups.taxes(row["taxes"]),
                was_confirmed=row["confirm_time"] is not None,
                history=tuple(history[order_id]),
            )

    def _cards_kept(self) -> Iterator[str]:
        for row in self._databases.rows("orders", "SELECT order_id FROM payment_methods"):
            yield str(row["order_id"])

    def _sagas(self) -> Iterator[Saga]:
        for row in self._databases.rows("orders", "SELECT saga_id, definition, status, data, failure FROM sagas"):
            yield Saga(
                saga_id=str(row["saga_id"]),
                order_id=row["data"].get(
                    "order_id", str(row["saga_id"])
                ),  # an order's placement is called as the order
                definition=row["definition"],
                status=row["status"].upper(),
                failure=row["failure"]["reason"] if row["failure"] else "",
            )

    def _saga_log(self) -> Iterator[SagaEntry]:
        for row in self._databases.rows("orders", "SELECT * FROM saga_log ORDER BY saga_id, number"):
            yield SagaEntry(**{**row, "saga_id": str(row["saga_id"])})

    def _payments(self) -> Iterator[Payment]:
        for row in self._databases.rows("payments", "SELECT * FROM payments"):
            yield Payment(
                order_id=str(row["order_id"]),
                state=row["state"].upper(),
                amount=row["amount_minor"] * CENT,
                refunded=row["refunded_minor"] * CENT,
            )

    def _levels(self) -> Iterator[StockLevel]:
        for row in self._databases.rows("inventory", LEVELS):
            yield StockLevel(**row)

    def _changes(self) -> Iterator[StockChange]:
        for row in self._databases.rows("inventory", "SELECT * FROM stock_changes"):
            yield StockChange(
                sku=row["sku"],
                number=row["change_id"],
                kind=row["kind"],
                order_id=str(row["order_id"] or ""),
                on_hand=row["on_hand_delta"],
                reserved=row["reserved_delta"],
                sold=row["sold_delta"],
            )

    def _reservations(self) -> Iterator[Reservation]:
        for row in self._databases.rows("inventory", "SELECT order_id, state FROM reservations"):
            yield Reservation(order_id=str(row["order_id"]), state=row["state"].upper())

    def _shipments(self) -> Iterator[Shipment]:
        for row in self._databases.rows("shipping", "SELECT shipment_id, order_id, state FROM shipments"):
            yield Shipment(
                order_id=str(row["order_id"]), shipment_id=str(row["shipment_id"]), state=row["state"].upper()
            )

    def _outbox(self) -> Iterator[OutboxEvent]:
        for service in self._databases.services:
            for row in self._databases.rows(service, OUTBOX):
                yield OutboxEvent(
                    source=row["source"],
                    sequence=row["sequence"],
                    event_id=str(row["event_id"]),
                    type=row["type"],
                    subject=row["subject"],
                    time=row["time"],
                    is_published=row["publish_time"] is not None,
                    **follow_ups.about(row["type"], bytes(row["data"])),
                )

    def _inbox(self) -> dict[str, dict[str, datetime]]:
        applied: dict[str, dict[str, datetime]] = {name: {} for name in subscriptions()}
        query = "SELECT subscription, event_id, update_time FROM inbox WHERE is_applied"
        for service in self._databases.services:
            for row in self._databases.rows(service, query):
                applied.setdefault(row["subscription"], {})[str(row["event_id"])] = row["update_time"]
        return applied


@contextmanager
def _explained() -> Iterator[None]:
    """Say of books that can't be read that the run can't be judged."""
    try:
        yield
    except (psycopg2.Error, aiohttp.ClientError, TimeoutError) as error:
        raise ChaosFailed(f"the books can't be read: {' '.join(str(error).split())}") from error


@cache
def subscriptions() -> Mapping[str, tuple[str, ...]]:
    """Return subscription -> types of its events, as the contract says."""
    contract = read_contract(load_image(ROOT / "gen" / "image.binpb").file)
    return {each.name: each.events for service in contract.services for each in service.subscriptions}


def _charge(reference: str, account: Mapping[str, Any]) -> Charge:
    return Charge(
        order_id=reference,
        authorisations=account["authorisations"],
        held=(account["authorised"] - account["captured"] - account["voided"]) * CENT,
        captured=account["captured"] * CENT,
        refunded=account["refunded"] * CENT,
    )
