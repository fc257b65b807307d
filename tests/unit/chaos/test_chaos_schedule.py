from __future__ import annotations

import pytest

from scripts.lib.chaos.schedule import ACTS, Act, Kind, Part, schedule

PARTS = (
    Part(name="orders", kind=Kind.REPLICA, weight=2),
    Part(name="orders.2", kind=Kind.REPLICA),
    Part(name="orders", kind=Kind.SERVICE),
    Part(name="postgres", kind=Kind.SUPPORT),
    Part(name="provider", kind=Kind.OUTSIDE),
)


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    first = schedule(7, 60, PARTS)

    assert schedule(7, 60, PARTS) == first
    assert schedule(8, 60, PARTS) != first


def test_faults_come_in_order_and_are_undone_when_the_run_ends() -> None:
    for seed in range(50):
        faults = schedule(seed, 30, PARTS)

        assert list(faults) == sorted(faults, key=lambda fault: fault.at_s)
        assert all(0 < fault.at_s < 30 for fault in faults)
        assert all(fault.at_s + fault.length_s <= 30.1 for fault in faults)


def test_a_long_run_does_everything_to_every_part() -> None:
    wanted = {(part.name, act) for part in PARTS for act in ACTS[part.kind]}

    assert {(fault.target, fault.act) for fault in schedule(1, 60, PARTS)} == wanted


def test_a_part_of_twice_the_weight_breaks_twice_as_often() -> None:
    parts = (Part(name="orders", kind=Kind.SERVICE, weight=2), Part(name="users", kind=Kind.SERVICE))

    targets = [fault.target for fault in schedule(1, 600, parts)][:300]

    assert targets.count("orders") == 200


@pytest.mark.parametrize("act", [Act.KILL, Act.RESTART])
def test_what_is_not_to_be_undone_has_no_length(act: Act) -> None:
    assert {fault.length_s for fault in schedule(1, 60, PARTS) if fault.act is act} == {0.0}


def test_some_pauses_of_a_replica_outlast_its_leases_and_none_of_another_part_does() -> None:
    pauses = [fault for fault in schedule(1, 600, PARTS) if fault.act is Act.PAUSE]

    assert any(fault.length_s > 6 for fault in pauses if fault.target.startswith("orders"))
    assert not any(fault.length_s > 4 for fault in pauses if fault.target in {"postgres", "provider"})


def test_without_parts_nothing_breaks() -> None:
    assert schedule(1, 60, ()) == ()


def test_a_fault_reads_as_a_line_of_a_plan() -> None:
    (fault,) = schedule(1, 2, (Part(name="orders", kind=Kind.SERVICE),))[:1]

    assert str(fault) == "   1.0 s  restart orders"
