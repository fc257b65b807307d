from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shipping.domain import (
    FORWARD,
    Action,
    Address,
    Booking,
    DestinationNotServed,
    IllegalTransition,
    Money,
    Parcel,
    Shipment,
    ShipmentCancelled,
    ShipmentDispatched,
    State,
)
from services.shipping.rates import ZONES, rate
from services.shipping.simulated import SimulatedCarrier

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ORDER = UUID(int=9)
ADDRESS = Address(
    recipient="Ada Lovelace", street_lines=("Square 12",), postal_code="SW1", city="London", country_code="GB"
)
ALLOWED = {
    (State.CREATED, Action.DISPATCH): State.IN_TRANSIT,
    (State.IN_TRANSIT, Action.DISPATCH): State.IN_TRANSIT,
    (State.IN_TRANSIT, Action.DELIVER): State.DELIVERED,
    (State.DELIVERED, Action.DELIVER): State.DELIVERED,
    (State.IN_TRANSIT, Action.RETURN): State.RETURNED,
    (State.DELIVERED, Action.RETURN): State.RETURNED,
    (State.RETURNED, Action.RETURN): State.RETURNED,
    (State.CREATED, Action.CANCEL): State.CANCELLED,
    (State.CANCELLED, Action.CANCEL): State.CANCELLED,
}
UNITS = st.integers(1, 100_000)
COUNTRIES = st.sampled_from(sorted(ZONES))


def shipment(state: State = State.CREATED) -> Shipment:
    parcel = Parcel(user_id="ada", booking=Booking("SIM1", Money("EUR", 5, 0)), destination=ADDRESS, create_time=NOW)
    return Shipment(shipment_id=UUID(int=1), order_id=ORDER, state=state, parcel=parcel, update_time=NOW)


@pytest.mark.parametrize(("state", "action"), list(product(State, Action)))
def test_a_shipment_does_what_the_table_says_and_nothing_else(state: State, action: Action) -> None:
    before = shipment(state)

    if (state, action) not in ALLOWED:
        with pytest.raises(ShipmentDispatched if action is Action.CANCEL else IllegalTransition):
            before.apply(action, now=LATER)
        return
    after = before.apply(action, now=LATER)

    assert after.state is ALLOWED[state, action]
    assert (after is before) == (after.state is state)
    assert after.update_time == (NOW if after is before else LATER)
    assert after.parcel is before.parcel


def test_what_comes_next_is_allowed_and_ends_with_delivery() -> None:
    following, seen = shipment(), [State.CREATED]
    while following.state in FORWARD:
        following = following.apply(FORWARD[following.state], now=LATER)
        seen.append(following.state)

    assert seen == [State.CREATED, State.IN_TRANSIT, State.DELIVERED]


def test_a_closed_door_is_cancelled_and_stays_so() -> None:
    door = Shipment.closed_door(shipment_id=UUID(int=1), order_id=ORDER, now=NOW)

    assert door.apply(Action.CANCEL, now=LATER) is door
    with pytest.raises(ShipmentCancelled):
        door.require_open()


def test_the_text_of_a_shipment_says_nothing_of_its_address() -> None:
    assert not [word for word in ("Ada Lovelace", "Square", "SW1", "London", "GB") if word in repr(shipment())]


@pytest.mark.parametrize(
    ("country", "units", "cents"),
    [
        ("DE", 1, 490),
        ("DE", 2, 490),
        ("DE", 3, 690),
        ("DE", 10, 690),
        ("DE", 11, 1190),
        ("DE", 30, 1190),
        ("DE", 31, 1190 + 490),
        ("DE", 60, 2 * 1190),
        ("FR", 1, 990),
        ("US", 95, 3 * 5990 + 3490),
    ],
)
def test_a_rate_is_by_size_and_zone(country: str, units: int, cents: int) -> None:
    assert rate(country, units) == Money("EUR", cents // 100, cents % 100 * 10_000_000)


@given(COUNTRIES, UNITS, UNITS)
def test_more_units_never_cost_less(country: str, one: int, other: int) -> None:
    few, many = sorted((one, other))

    assert rate(country, few)[1:] <= rate(country, many)[1:]


@pytest.mark.parametrize("country", ["AQ", "KP", "XX", ""])
def test_other_countries_are_not_served(country: str) -> None:
    with pytest.raises(DestinationNotServed) as refused:
        rate(country, 1)

    assert refused.value.metadata == {}
    assert [each.field for each in refused.value.violations] == ["destination.countryCode"]


@given(COUNTRIES, UNITS)
async def test_what_the_simulated_carrier_quotes_is_what_it_books_at(country: str, units: int) -> None:
    quoted = await SimulatedCarrier().quote(country, units)

    booking = await SimulatedCarrier().book(ORDER, replace(ADDRESS, country_code=country), units)

    assert quoted == booking.rate == rate(country, units)


async def test_the_simulated_carrier_answers_the_same_whenever_and_wherever_it_is_asked() -> None:
    booking = await SimulatedCarrier().book(ORDER, ADDRESS, 3)

    assert await SimulatedCarrier().book(ORDER, ADDRESS, 3) == booking
    assert await SimulatedCarrier().find(ORDER) == booking.tracking_number
    assert booking.tracking_number != (await SimulatedCarrier().book(UUID(int=8), ADDRESS, 3)).tracking_number
    assert booking.tracking_number.isalnum()
    assert booking.tracking_number.isupper()
    assert len(booking.tracking_number) <= 40


@pytest.mark.parametrize("state", list(State))
def test_an_address_is_forgotten_but_for_the_country_as_soon_as_no_carrier_needs_it(state: State) -> None:
    before = shipment(state)

    after = before.forgotten()

    if state in {State.CREATED, State.IN_TRANSIT}:
        assert after is before
    else:
        assert after.parcel
        assert after.parcel.destination == Address(
            recipient="", street_lines=(), postal_code="", city="", country_code="GB"
        )
        assert replace(after, parcel=before.parcel) == before
        assert after.forgotten() == after


def test_what_has_no_parcel_has_nothing_to_forget() -> None:
    closed = Shipment.closed_door(shipment_id=UUID(int=1), order_id=ORDER, now=NOW)

    assert closed.forgotten() is closed
