"""The embedded agent's state: what moves which index. The full table, against a real Consul, is in tests/mesh."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest

from weft.registry.agent import state as state_module
from weft.registry.agent.definition import CheckDefinition, ServiceDefinition
from weft.registry.agent.state import State

MUG = ServiceDefinition(id="mugs-1", name="mugs", address="127.0.0.1", port=4001)
OTHER_MUG = ServiceDefinition(id="mugs-2", name="mugs", address="127.0.0.1", port=4002)
CUP = ServiceDefinition(id="cups-1", name="cups", address="127.0.0.1", port=4003)


def check(service: ServiceDefinition, name: str = "alive") -> CheckDefinition:
    return CheckDefinition(check_id=f"{service.id}:{name}", name=name, kind="ttl", ttl_s=60)


@pytest.fixture(name="state")
def _state() -> State:
    state = State()
    state.register(MUG, [check(MUG)])
    return state


def indexes(state: State, name: str = "mugs") -> tuple[int, int, int]:
    """The signals of catalog/services, catalog/service/<name> and health/service/<name>."""
    return state.names().signal, state.instances(name).signal, state.health(name).signal


def moved(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[bool, ...]:
    assert all(then <= now for then, now in zip(before, after, strict=True)), "no index ever goes back"
    return tuple(then < now for then, now in zip(before, after, strict=True))


def test_a_new_instance_moves_everything_about_its_service(state: State) -> None:
    before = indexes(state)

    state.register(OTHER_MUG, [check(OTHER_MUG)])

    assert moved(before, indexes(state)) == (True, True, True)


@pytest.mark.parametrize("change", [{"port": 5000}, {"meta": {"v": "2"}}, {"tags": ("blue",)}, {"weight_passing": 2}])
def test_a_changed_instance_moves_everything_about_its_service(state: State, change: dict[str, object]) -> None:
    before = indexes(state)

    state.register(replace(MUG, **change), [check(MUG)])  # type: ignore[arg-type]  # the table says what changes

    assert moved(before, indexes(state)) == (True, True, True)


def test_an_identical_registration_moves_nothing_and_keeps_the_status(state: State) -> None:
    state.set_status("mugs-1:alive", "passing", "fine")
    before = indexes(state)

    state.register(MUG, [check(MUG)])

    assert moved(before, indexes(state)) == (False, False, False)
    kept = state.check("mugs-1:alive")
    assert kept is not None
    assert (kept.status, kept.output) == ("passing", "fine")


def test_a_status_moves_health_only(state: State) -> None:
    before = indexes(state)

    state.set_status("mugs-1:alive", "passing", "fine")

    assert moved(before, indexes(state)) == (False, False, True)


def test_an_output_alone_moves_nothing_but_is_told(state: State) -> None:
    before = indexes(state)

    state.set_status("mugs-1:alive", "critical", "still no answer")

    assert moved(before, indexes(state)) == (False, False, False)
    assert state.health("mugs").value[0][1][0].output == "still no answer"


def test_the_status_of_a_forgotten_check_is_ignored(state: State) -> None:
    before = indexes(state)

    state.set_status("mugs-9:alive", "passing", "a probe that came too late")

    assert moved(before, indexes(state)) == (False, False, False)


@pytest.mark.parametrize("checks", [[], [check(MUG, "another")], [check(MUG), check(MUG, "another")]])
def test_other_checks_move_health_only(state: State, checks: list[CheckDefinition]) -> None:
    before = indexes(state)

    state.register(MUG, checks)

    assert moved(before, indexes(state)) == (False, False, True)
    assert state.checks_of("mugs-1") == sorted(each.check_id for each in checks)


def test_checks_are_kept_when_not_asked_to_replace_them(state: State) -> None:
    state.register(MUG, [check(MUG, "another")], replace_checks=False)

    assert state.checks_of("mugs-1") == ["mugs-1:alive", "mugs-1:another"]


def test_another_service_moves_the_names_only(state: State) -> None:
    before = indexes(state)

    state.register(CUP, [check(CUP)])

    assert moved(before, indexes(state)) == (True, False, False)


def test_the_last_instance_leaving_moves_everything_about_its_service(state: State) -> None:
    before = indexes(state)

    assert state.deregister("mugs-1")

    assert moved(before, indexes(state)) == (True, True, True)
    assert state.health("mugs").value == []
    assert state.names().value == {}


def test_after_an_extinction_unrelated_changes_leave_the_missing_service_alone(state: State) -> None:
    state.deregister("mugs-1")
    before = indexes(state)

    state.register(CUP, [check(CUP)])
    state.set_status("cups-1:alive", "passing", "fine")

    assert moved(before, indexes(state)) == (True, False, False)


def test_a_missing_service_appearing_moves_everything_about_it(state: State) -> None:
    state.deregister("mugs-1")
    before = indexes(state)

    state.register(MUG, [check(MUG)])

    assert moved(before, indexes(state)) == (True, True, True)


def test_an_instance_that_changes_its_service_leaves_the_old_one(state: State) -> None:
    before = indexes(state)

    state.register(replace(MUG, name="cups"), [check(MUG)])

    assert moved(before, indexes(state)) == (True, True, True)
    assert state.names().value == {"cups": []}


def test_forgetting_an_unknown_instance_moves_nothing(state: State) -> None:
    before = indexes(state)

    assert not state.deregister("mugs-9")

    assert moved(before, indexes(state)) == (False, False, False)


def test_every_index_is_above_zero_from_the_start() -> None:
    empty = State()

    readings = (empty.names(), empty.instances("mugs"), empty.health("mugs"), empty.kv_get("key"), empty.kv_list(""))

    assert all(reading.index > 0 for reading in readings)


def test_whoever_watches_is_told_of_every_move_with_the_new_state_in_place() -> None:
    seen: list[list[str]] = []
    state = State(lambda: seen.append(list(state.names().value)))

    state.register(MUG, [check(MUG)])
    state.register(MUG, [check(MUG)])
    state.set_status("mugs-1:alive", "passing", "fine")
    state.set_status("mugs-1:alive", "passing", "still fine")
    state.deregister("mugs-1")

    assert seen == [["mugs"], ["mugs"], []]


def test_passing_leaves_out_whoever_has_a_check_that_does_not_pass(state: State) -> None:
    state.register(OTHER_MUG, [check(OTHER_MUG), check(OTHER_MUG, "warm")])
    state.register(replace(MUG, id="mugs-3"), [])
    for check_id, status in (("mugs-1:alive", "warning"), ("mugs-2:alive", "passing"), ("mugs-2:warm", "passing")):
        state.set_status(check_id, status, "")  # type: ignore[arg-type]  # a status each

    healthy = [service.definition.id for service, _ in state.health("mugs", passing=True).value]

    assert healthy == ["mugs-2", "mugs-3"]


def test_compare_and_set_stores_over_the_index_it_knows_only() -> None:
    state = State()

    assert not state.kv_put("key", b"1", cas=7)
    assert state.kv_put("key", b"1", cas=0)
    assert not state.kv_put("key", b"2", cas=0)
    assert state.kv_put("key", b"2", cas=state.kv_get("key").index)
    assert [entry.value for entry in state.kv_get("key").value] == [b"2"]


def test_compare_and_delete_removes_over_the_index_it_knows_only() -> None:
    state = State()
    state.kv_put("key", b"1")

    assert not state.kv_delete("key", cas=state.kv_get("key").index + 1)
    assert state.kv_delete("key", cas=state.kv_get("key").index)
    assert state.kv_delete("key", cas=7), "what is gone already is gone"


def test_a_prefix_moves_with_what_is_below_it_and_not_with_its_neighbours() -> None:
    state = State()
    state.kv_put("weft/a", b"1")
    steps = [state.kv_list("weft/").index]

    for step in (
        partial(state.kv_put, "weft/b", b"1"),
        partial(state.kv_put, "other", b"1"),
        partial(state.kv_delete, "weft/b"),
        partial(state.kv_delete, "other"),
        partial(state.kv_put, "weft/a", b"1"),
        partial(state.kv_delete, "weft/", recurse=True),
    ):
        step()
        steps.append(state.kv_list("weft/").index)

    assert [now > then for then, now in pairwise(steps)] == [True, False, True, False, False, True]


def test_removed_keys_are_remembered_within_bounds_and_no_index_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "MAX_TOMBSTONES", 3)
    state = State()
    state.kv_put("weft/kept", b"1")
    seen = []
    for number in range(10):
        state.kv_put(f"weft/{number}", b"1")
        state.kv_delete(f"weft/{number}")
        seen.append(state.kv_list("weft/").index)

    assert seen == sorted(set(seen))
    assert len(state._tombstones) == 3  # the bound is not visible from outside
