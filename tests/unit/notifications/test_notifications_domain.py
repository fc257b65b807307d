from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from google.type.money_pb2 import Money
from shop.inventory.v1 import events_pb2 as inventory
from shop.notifications.v1 import notifications_pb2
from shop.orders.v1 import events_pb2 as orders
from shop.payments.v1 import events_pb2 as payments
from shop.shipping.v1 import events_pb2 as shipping
from shop.users.v1 import events_pb2 as users

from services.notifications.domain import (
    Channel,
    Contact,
    Notice,
    State,
    Template,
    chosen_channels,
    is_given_up,
    languages,
    notifications_of,
    retry_wait_s,
    unreachable,
)
from services.notifications.occasions import handlers, occasion

NOW = datetime(2026, 11, 21, tzinfo=UTC)
EVENT = UUID(int=7)
ALL = frozenset(Channel)


def contact(*channels: Channel, **addresses: str) -> Contact:
    return Contact(
        user_id="ada",
        first_name="Ada",
        language="en",
        channels=channels or (Channel.EMAIL,),
        addresses={Channel(name): address for name, address in ({"email": "ada@example.com"} | addresses).items()},
    )


def notice(user_id: str | None = "ada") -> Notice:
    return Notice(event_id=EVENT, template=Template.WELCOME, user_id=user_id, subject="", facts={})


@pytest.mark.parametrize(
    ("tag", "wanted"),
    [
        ("de", ["de", "en"]),
        ("de-AT", ["de-at", "de", "en"]),
        ("zh-Hant-TW", ["zh-hant-tw", "zh-hant", "zh", "en"]),
        ("en", ["en"]),
        ("en-GB", ["en-gb", "en"]),
        ("", ["en"]),
    ],
)
def test_a_language_is_looked_for_from_its_most_exact_form_to_english(tag: str, wanted: list[str]) -> None:
    assert languages(tag) == wanted


def test_channels_are_those_of_the_users_choice_that_lead_somewhere() -> None:
    everything = contact(Channel.SMS, Channel.PUSH, Channel.EMAIL, sms="+4917012345", push="token")

    assert chosen_channels(everything, ALL) == [Channel.SMS, Channel.PUSH, Channel.EMAIL]
    assert chosen_channels(everything, {Channel.EMAIL, Channel.PUSH}) == [Channel.PUSH, Channel.EMAIL]


@pytest.mark.parametrize("served", [ALL, {Channel.EMAIL}])
def test_whoever_can_be_reached_by_no_channel_of_their_choice_gets_a_mail(served: frozenset[Channel]) -> None:
    assert chosen_channels(contact(Channel.SMS), served) == [Channel.EMAIL]


def test_a_notification_has_the_same_id_however_often_it_is_made_and_no_other_has_it() -> None:
    sms = contact(Channel.SMS, Channel.EMAIL, sms="+4917012345")

    once = notifications_of(notice(), [sms], served=ALL, now=NOW)
    again = notifications_of(notice(), [sms], served=ALL, now=NOW + timedelta(days=1))

    assert [each.notification_id for each in once] == [each.notification_id for each in again]
    assert len({each.notification_id for each in once}) == 2


def test_a_user_who_is_not_there_is_a_failure_in_the_history() -> None:
    kept = unreachable(notice(), "ada", now=NOW)

    assert (kept.state, kept.failure_reason, kept.user_id) == (State.FAILED, "USER_NOT_FOUND", "ada")


def test_waits_double_up_to_a_quarter_of_an_hour_and_differ_between_those_that_failed_together() -> None:
    assert [retry_wait_s(attempts, chance=0.5) for attempts in (1, 2, 3, 10, 1000)] == [2, 4, 8, 900, 900]
    assert 4 == retry_wait_s(3, chance=0) < retry_wait_s(3, chance=0.999) < 12


def test_a_notification_is_given_up_after_a_day() -> None:
    assert not is_given_up(NOW, now=NOW + timedelta(hours=23, minutes=59))
    assert is_given_up(NOW, now=NOW + timedelta(days=1))


def test_no_repr_tells_how_to_reach_anybody() -> None:
    shown = repr(contact(Channel.SMS, sms="+4917012345"))

    assert [word for word in ("Ada", "example.com", "+49") if word in shown] == []


EUROS = Money(currency_code="EUR", units=14, nanos=500_000_000)
SUM = {"currency": "EUR", "units": 14, "nanos": 500_000_000}
IDS = {"order_id": "o-1", "user_id": "ada"}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (users.UserRegistered(user_id="ada"), (Template.WELCOME, "ada", "", {})),
        (
            orders.OrderConfirmed(
                **IDS,
                lines=[orders.OrderedLine(sku="MUG", quantity=2, unit_price=EUROS, name="Mug, blue")],
                total=EUROS,
                shipping=EUROS,
            ),
            (
                Template.ORDER_CONFIRMED,
                "ada",
                "o-1",
                {
                    "lines": [{"sku": "MUG", "name": "Mug, blue", "quantity": 2, "unit_price": SUM}],
                    "shipping": SUM,
                    "total": SUM,
                },
            ),
        ),
        (
            orders.OrderConfirmed(
                **IDS, lines=[orders.OrderedLine(sku="MUG", quantity=1, unit_price=EUROS)], total=EUROS
            ),
            (
                Template.ORDER_CONFIRMED,
                "ada",
                "o-1",
                {
                    "lines": [{"sku": "MUG", "name": "MUG", "quantity": 1, "unit_price": SUM}],
                    "shipping": None,
                    "total": SUM,
                },
            ),
        ),
        (
            orders.OrderCancelled(**IDS, reason="PAYMENT_DECLINED", total=EUROS),
            (Template.PAYMENT_FAILED, "ada", "o-1", {"total": SUM}),
        ),
        (orders.OrderCancelled(**IDS, reason="CANCELLED_BY_USER", total=EUROS), None),
        (orders.OrderCancelled(**IDS, reason="INSUFFICIENT_STOCK", total=EUROS), None),
        (
            shipping.ShipmentDispatched(**IDS, tracking_number="SIM7"),
            (Template.ORDER_SHIPPED, "ada", "o-1", {"tracking_number": "SIM7"}),
        ),
        (shipping.ShipmentDelivered(**IDS, tracking_number="SIM7"), (Template.ORDER_DELIVERED, "ada", "o-1", {})),
        (
            payments.PaymentRefunded(**IDS, amount=EUROS, refunded=EUROS),
            (Template.REFUNDED, "ada", "o-1", {"amount": SUM, "refunded": SUM}),
        ),
        (
            inventory.StockLow(sku="MUG", on_hand=3, low_stock_threshold=5),
            (Template.STOCK_LOW, None, "MUG", {"on_hand": 3, "low_stock_threshold": 5}),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)
def test_an_event_is_an_occasion_to_tell_somebody_something(event: Message, told: object) -> None:
    assert occasion(event) == told


def test_every_event_of_the_subscriptions_is_understood() -> None:
    service = notifications_pb2.DESCRIPTOR.services_by_name["NotificationsService"]
    options = service.GetOptions().ListFields()[0][1]
    heard = {event for subscription in options.subscriptions for event in subscription.events}

    assert {kind.DESCRIPTOR.full_name for kind in handlers(uuid4)} == heard
