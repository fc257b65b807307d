from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inventory.domain import (
    MOVES,
    TRANSITIONS,
    Action,
    DuplicateSkus,
    InsufficientStock,
    Kind,
    Level,
    Line,
    Reservation,
    ReservationClosed,
    ReservationDiffers,
    State,
    Units,
    adjustment,
    apply_changes,
    crossed,
    fallen,
    require_distinct,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDER = UUID(int=9)
LINES = (Line("MUG", 4), Line("POT", 1))
ALLOWED = {
    (State.RESERVED, Action.RESERVE): (State.RESERVED, []),
    (State.RESERVED, Action.COMMIT): (State.COMMITTED, [Kind.COMMITTED]),
    (State.RESERVED, Action.RELEASE): (State.RELEASED, [Kind.RELEASED]),
    (State.RESERVED, Action.EXPIRE): (State.EXPIRED, [Kind.EXPIRED]),
    (State.COMMITTED, Action.RESERVE): (State.COMMITTED, []),
    (State.COMMITTED, Action.COMMIT): (State.COMMITTED, []),
    (State.COMMITTED, Action.RELEASE): (State.RETURNED, [Kind.RETURNED]),
    (State.RELEASED, Action.RELEASE): (State.RELEASED, []),
    (State.RETURNED, Action.RELEASE): (State.RETURNED, []),
    (State.EXPIRED, Action.RELEASE): (State.RELEASED, []),
    (State.EXPIRED, Action.COMMIT): (State.COMMITTED, [Kind.RESERVED, Kind.COMMITTED]),
}


def reservation(state: State = State.RESERVED, lines: tuple[Line, ...] = LINES) -> Reservation:
    return Reservation(order_id=ORDER, state=state, lines=frozenset(lines), expire_time=NOW + timedelta(minutes=15))


def levels(threshold: int = 0, **on_hand: int) -> dict[str, Level]:
    return {
        sku: Level(sku=sku, units=Units(units, 50, 50), low_stock_threshold=threshold, update_time=NOW)
        for sku, units in on_hand.items()
    }


@pytest.mark.parametrize(("state", "action"), list(product(State, Action)))
def test_a_reservation_does_what_the_table_says_and_nothing_else(state: State, action: Action) -> None:
    before = reservation(state)

    if (state, action) not in ALLOWED:
        with pytest.raises(ReservationClosed) as refused:
            before.apply(action)
        assert (refused.value.reason, refused.value.metadata["state"]) == ("RESERVATION_CLOSED", state)
        return
    after, changes = before.apply(action)

    following, kinds = ALLOWED[state, action]
    assert after == replace(before, state=following)
    assert [(each.kind, each.sku) for each in changes] == [(kind, line.sku) for kind in kinds for line in LINES]
    assert {each.order_id for each in changes} <= {ORDER}


@pytest.mark.parametrize("kind", MOVES)
def test_orders_neither_make_nor_lose_units(kind: Kind) -> None:
    assert sum(MOVES[kind]) == 0


@given(st.lists(st.sampled_from(Action), max_size=12))
def test_an_orders_units_are_in_one_place(actions: list[Action]) -> None:
    order, stock = reservation(), levels(MUG=4, POT=1)
    stock = apply_changes(stock, order.opened())

    for action in actions:
        if (order.state, action) in TRANSITIONS:
            order, changes = order.apply(action)
            stock |= apply_changes(stock, changes)

    held = {State.RESERVED: (0, 4, 0), State.COMMITTED: (0, 0, 4)}.get(order.state, (4, 0, 0))
    assert stock["MUG"].units == Units(50, 50, 50).plus(Units(*held)).plus(Units(on_hand=-50))


def test_making_a_reservation_takes_units_from_the_shelf() -> None:
    changes = reservation().opened()

    after = apply_changes(levels(MUG=4, POT=3), changes)

    assert [(each.sku, each.units) for each in changes] == [("MUG", (-4, 4, 0)), ("POT", (-1, 1, 0))]
    assert [after[sku].units for sku in ("MUG", "POT")] == [(0, 54, 50), (2, 51, 50)]


def test_every_short_line_is_named() -> None:
    lines = [Line("POT", 2), Line("MUG", 4), Line("PEN", 1)]

    with pytest.raises(InsufficientStock) as refused:
        apply_changes(levels(MUG=4, POT=1), reservation(lines=tuple(lines)).opened(), lines=lines)

    assert refused.value.metadata == {"skus": "PEN,POT", "lines": "0,2"}
    assert [(each.field, each.description) for each in refused.value.violations] == [
        ("lines[0].quantity", "only 1 on hand"),
        ("lines[2].quantity", "only 0 on hand"),
    ]


def test_of_very_many_short_lines_every_one_is_named_and_skus_as_fit() -> None:
    lines = [Line(f"{number:03}-{'X' * 60}", 1) for number in range(100)]

    refusal = InsufficientStock(dict.fromkeys((line.sku for line in lines), 0), lines)

    assert len(refusal.violations) == 100
    assert refusal.metadata["lines"] == ",".join(map(str, range(100)))
    assert refusal.metadata["skus"] == ",".join(line.sku for line in lines[:15])


def test_no_more_is_taken_away_than_is_on_hand() -> None:
    taken = apply_changes(levels(MUG=4), [adjustment("MUG", -4, "broken")])
    assert taken["MUG"].units.on_hand == 0

    with pytest.raises(InsufficientStock):
        apply_changes(levels(MUG=4), [adjustment("MUG", -5, "broken")])


@pytest.mark.parametrize(
    ("before", "after", "is_told"),
    [(5, 4, True), (9, 0, True), (4, 3, False), (4, 4, False), (5, 5, False), (3, 5, False), (0, 4, False)],
)
def test_stock_is_low_when_it_falls_to_its_threshold(before: int, after: int, *, is_told: bool) -> None:
    low = fallen(levels(threshold=4, MUG=before), levels(threshold=4, MUG=after))

    assert [(level.sku, level.units.on_hand) for level in low] == ([("MUG", after)] if is_told else [])


def test_the_threshold_that_counts_is_the_new_one() -> None:
    assert fallen(levels(threshold=0, MUG=9), levels(threshold=8, MUG=8))
    assert not fallen(levels(threshold=8, MUG=9), levels(threshold=0, MUG=8))
    assert not fallen(levels(threshold=0, MUG=9), levels(threshold=10, MUG=9))  # nothing fell


def test_a_repeat_is_of_the_same_lines_in_any_order_and_in_time() -> None:
    order = reservation()

    order.require_same(reversed(LINES), now=NOW)
    with pytest.raises(ReservationDiffers):
        order.require_same(LINES[:1], now=NOW)
    with pytest.raises(ReservationClosed):
        order.require_same(LINES, now=order.expire_time)
    reservation(State.COMMITTED).require_same(LINES, now=order.expire_time)


@pytest.mark.parametrize("state", [State.RELEASED, State.EXPIRED, State.RETURNED])
def test_what_is_over_is_closed_whatever_the_lines(state: State) -> None:
    with pytest.raises(ReservationClosed):
        reservation(state).require_same(LINES[:1], now=NOW)


def test_each_line_that_repeats_a_sku_is_named() -> None:
    require_distinct(LINES)

    with pytest.raises(DuplicateSkus) as refused:
        require_distinct([*LINES, Line("MUG", 1), Line("POT", 1)])

    assert [(each.field, each.description) for each in refused.value.violations] == [
        ("lines[2].sku", "is the SKU of lines[0] too"),
        ("lines[3].sku", "is the SKU of lines[1] too"),
    ]


@pytest.mark.parametrize(
    ("on_hand", "threshold", "availability"),
    [(0, 0, "out"), (0, 5, "out"), (1, 0, "plenty"), (1, 5, "low"), (5, 5, "low"), (6, 5, "plenty")],
)
def test_how_much_is_left_is_a_word(on_hand: int, threshold: int, availability: str) -> None:
    level = Level(sku="MUG", units=Units(on_hand), low_stock_threshold=threshold, update_time=NOW)

    assert level.availability == availability


def test_others_are_told_when_the_word_changes_and_the_first_time() -> None:
    before = {"MUG": Level(sku="MUG", units=Units(0), low_stock_threshold=2, update_time=NOW)}
    seen = []

    for delta in (0, 5, -1, -2, -1, -1, 3):
        after = apply_changes(before, [adjustment("MUG", delta, "count")])
        seen.append([(level.availability.value, level.revision) for level in crossed(before, after)])
        before = after

    assert seen == [[("out", 1)], [("plenty", 2)], [], [("low", 3)], [], [("out", 4)], [("plenty", 5)]]


def test_a_new_threshold_may_change_the_word_too() -> None:
    before = {"MUG": Level(sku="MUG", units=Units(5), low_stock_threshold=2, revision=7, update_time=NOW)}

    after = apply_changes(before, [adjustment("MUG", 0, "count")], threshold=9)

    assert (after["MUG"].availability, after["MUG"].revision) == ("low", 8)
