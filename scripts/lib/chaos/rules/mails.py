"""Whoever is to be told of something is told, by each of their channels, and nobody else is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from scripts.lib.chaos.evidence import Evidence, OutboxEvent
from scripts.lib.chaos.finding import Breach, Finding, found
from scripts.lib.chaos.records import Mail, Notice

__all__ = ["RULES"]

AREA: Final = "mails"
TEMPLATES: Final = {
    "shop.users.v1.UserRegistered": "welcome",
    "shop.orders.v1.OrderConfirmed": "order_confirmed",
    "shop.orders.v1.OrderCancelled": "payment_failed",
    "shop.shipping.v1.ShipmentDispatched": "order_shipped",
    "shop.shipping.v1.ShipmentDelivered": "order_delivered",
    "shop.payments.v1.PaymentRefunded": "refunded",
    "shop.inventory.v1.StockLow": "stock_low",
}
"""Event -> what is told of it."""
EMAIL: Final = "email"
"""The one channel that the shop has here; nobody has chosen another."""
DECLINED: Final = "PAYMENT_DECLINED"
"""The one reason of an order that is off which its shopper hears of by mail."""


def one_notice_each(evidence: Evidence) -> Finding:
    due = {each.event_id: each for each in evidence.outbox if _is_told(each)}
    made: dict[str, list[Notice]] = defaultdict(list)
    for notice in evidence.notices:
        made[notice.event_id].append(notice)

    def breaches() -> Iterator[Breach]:
        for event_id in sorted(due.keys() | made.keys()):
            event, notices = due.get(event_id), made.get(event_id, [])
            wanted = [(TEMPLATES[event.type], event.user_id)] if event else []
            if (actual := [(each.template, each.user_id) for each in notices]) != wanted:
                what = f"{event.type} of {event.subject}" if event else "nothing that is told"
                yield Breach(
                    subject=event_id,
                    text=f"is {what}, and was noted as {actual}",
                    order_id=event.subject if event else "",
                )

    return found(AREA, "each event that is told of has one notice", len(due), "events", breaches())


def everybody_told(evidence: Evidence) -> Finding:
    sent: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for each in evidence.notifications:
        sent[each.event_id].append((each.user_id, each.channel, each.state))
    admins = [person.user_id for person in evidence.people.values() if person.is_admin]
    subjects = {each.event_id: each.subject for each in evidence.outbox}

    def breaches() -> Iterator[Breach]:
        for notice in evidence.notices:
            whom = [notice.user_id] if notice.user_id else admins
            wanted = sorted((user_id, EMAIL, "SENT") for user_id in whom)
            if (actual := sorted(sent.pop(notice.event_id, []))) != wanted:
                text = f"{notice.template} should be {_listed(wanted)}, and is {_listed(actual)}"
                yield Breach(subject=notice.event_id, text=text, order_id=subjects.get(notice.event_id, ""))
        for event_id, actual in sorted(sent.items()):
            yield Breach(subject=event_id, text=f"has no notice, and is {_listed(sorted(actual))}")

    rule = "each notice is SENT once to whom it is for by each of their channels"
    return found(AREA, rule, len(evidence.notices), "notices", breaches())


def none_lost(evidence: Evidence) -> Finding:
    taken = {mail.notification_id for mail in evidence.mails}
    subjects = {each.event_id: each.subject for each in evidence.outbox}
    sent = [each for each in evidence.notifications if each.channel == EMAIL and each.state == "SENT"]
    breaches = (
        Breach(
            subject=each.notification_id,
            text=f"was SENT to {each.user_id}, and never taken by the mail server",
            order_id=subjects.get(each.event_id, ""),
        )
        for each in sent
        if each.notification_id not in taken
    )
    return found(AREA, "each mail that is SENT is in its mailbox", len(sent), "mails", breaches)


def nobody_else(evidence: Evidence) -> Finding:
    whose = {each.notification_id: each.user_id for each in evidence.notifications}

    def breaches() -> Iterator[Breach]:
        for mail in evidence.mails:
            person = evidence.people.get(whose.get(mail.notification_id, ""))
            if person is None:
                yield Breach(subject=mail.message_id, text="was taken by the mail server, and nobody has sent it")
            elif (mail.recipients, mail.to) != ((person.email,), person.email):
                text = f"is for {person.email}, and went to {', '.join(mail.recipients)} as a mail to {mail.to}"
                yield Breach(subject=mail.message_id, text=text)

    return found(AREA, "each mail went to whom it is for", len(evidence.mails), "mails", breaches())


def copies_alike(evidence: Evidence) -> Finding:
    """A mail may come twice where its sender was killed, or did not hear the answer; then readers know it as one."""
    copies: Mapping[str, list[Mail]] = defaultdict(list)
    for mail in evidence.mails:
        copies[mail.message_id].append(mail)
    names: Counter[str] = Counter(mails[0].notification_id for mails in copies.values())

    def breaches() -> Iterator[Breach]:
        for message_id, mails in sorted(copies.items()):
            if len(found := {mail.digest for mail in mails}) > 1:
                yield Breach(subject=message_id, text=f"was taken {len(mails)} times, as {len(found)} different mails")
        for notification_id, count in sorted(names.items()):
            if count > 1:
                yield Breach(subject=notification_id, text=f"was sent under {count} Message-IDs")

    return found(AREA, "a mail that comes again is the same, by its Message-ID", len(copies), "mails", breaches())


def _is_told(event: OutboxEvent) -> bool:
    return event.type in TEMPLATES and (event.reason == DECLINED or not event.type.endswith(".OrderCancelled"))


def _listed(notifications: list[tuple[str, str, str]]) -> str:
    return ", ".join(f"{state} to {user_id} by {channel}" for user_id, channel, state in notifications) or "nowhere"


RULES: Final = (one_notice_each, everybody_told, none_lost, nobody_else, copies_alike)
