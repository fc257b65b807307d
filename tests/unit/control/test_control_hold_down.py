from __future__ import annotations

from weft.control import HoldDown
from weft.registry import Instance


def instances(service: str, count: int) -> tuple[Instance, ...]:
    return tuple(
        Instance(id=f"{service}-{number}", service=service, address="127.0.0.1", port=1000 + number)
        for number in range(count)
    )


def catalog(**counts: int) -> dict[str, tuple[Instance, ...]]:
    return {service: instances(service, count) for service, count in counts.items()}


def test_a_service_that_loses_some_instances_is_followed_at_once() -> None:
    believed = HoldDown(hold_s=30).heard(catalog(a=3, b=1), 0).heard(catalog(a=1, b=1), 1)

    assert believed.services == catalog(a=1, b=1)
    assert believed.held == frozenset()


def test_a_service_that_loses_all_instances_keeps_the_last_ones_for_the_stated_time() -> None:
    believed = HoldDown(hold_s=30).heard(catalog(a=2, b=1, c=1), 0).heard(catalog(a=0, b=1, c=1), 10)

    assert believed.services["a"] == instances("a", 2)
    assert believed.held == {"a"}
    assert believed.next_end_s == 40
    assert believed.at(39.9).held == {"a"}
    assert believed.at(40).services == catalog(b=1, c=1)
    assert believed.at(40).held == frozenset()


def test_a_service_that_is_not_named_any_more_is_as_empty_as_one_with_no_instances() -> None:
    believed = HoldDown(hold_s=30).heard(catalog(a=2, b=1, c=1), 0)

    assert believed.heard(catalog(b=1, c=1), 1) == believed.heard(catalog(a=0, b=1, c=1), 1)


def test_the_time_counts_from_the_first_empty_answer() -> None:
    believed = HoldDown(hold_s=30).heard(catalog(a=1, b=1, c=1), 0)

    for now_s in (10, 20, 39):
        believed = believed.heard(catalog(a=0, b=1, c=1), now_s)

    assert believed.held == {"a"}
    assert believed.at(40).held == frozenset()


def test_a_hold_ends_when_instances_come_back_and_those_are_the_ones_that_count() -> None:
    believed = HoldDown(hold_s=30).heard(catalog(a=2, b=1, c=1), 0).heard(catalog(a=0, b=1, c=1), 10)

    believed = believed.heard(catalog(a=1, b=1, c=1), 20)

    assert believed.services["a"] == instances("a", 1)
    assert believed.held == frozenset()
    assert believed.next_end_s is None


def test_a_service_that_never_had_instances_is_empty_and_not_held() -> None:
    believed = HoldDown(hold_s=30).heard(catalog(a=0, b=1), 0)

    assert believed.services == catalog(b=1)
    assert believed.held == frozenset()


def test_a_mass_withdrawal_is_refused_for_as_long_as_it_lasts() -> None:
    believed = HoldDown(hold_s=30).heard(catalog(a=1, b=1, c=1), 0).heard({}, 10)

    assert believed.is_mass
    assert believed.next_end_s is None
    assert believed.at(1e9).services == catalog(a=1, b=1, c=1)
    assert believed.heard({}, 1e9).services == catalog(a=1, b=1, c=1)


def test_when_a_registry_recovers_the_services_still_missing_get_their_time_from_then_on() -> None:
    lost = HoldDown(hold_s=30).heard(catalog(a=1, b=1, c=1), 0).heard({}, 10)

    recovering = lost.heard(catalog(a=1, b=1), 1000)

    assert recovering.held == {"c"}
    assert recovering.next_end_s == 1030
    assert recovering.at(1030).services == catalog(a=1, b=1)


def test_half_of_the_services_may_be_scaled_down() -> None:
    believed = HoldDown(hold_s=30).heard(catalog(a=1, b=1, c=1, d=1), 0).heard(catalog(c=1, d=1), 1)

    assert not believed.is_mass
    assert believed.at(31).services == catalog(c=1, d=1)


def test_a_hold_of_no_time_believes_everything() -> None:
    believed = HoldDown(hold_s=0).heard(catalog(a=1, b=1, c=1), 0).heard({}, 1)

    assert believed.services == {}
    assert believed.held == frozenset()
