from __future__ import annotations

import pytest

from weft.registry import Check, GrpcCheck, HttpCheck, Instance, TcpCheck, TtlCheck
from weft.registry.wire import describes, healthy_instances, registration

MUG = Instance(id="mugs-1", service="mugs", address="127.0.0.1", port=4001, metadata={"version": "1"}, weight=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"service": ""},
        {"address": "mugs.internal"},
        {"address": ""},
        {"port": 0},
        {"port": 65536},
        {"weight": 0},
        {"weight": 65536},
    ],
)
def test_an_instance_that_nobody_could_call_cannot_be_made(changes: dict[str, object]) -> None:
    values = {"id": "mugs-1", "service": "mugs", "address": "127.0.0.1", "port": 4001} | changes

    with pytest.raises(ValueError, match=r"instance needs|not within|does not appear to be"):
        Instance(**values)  # type: ignore[arg-type]  # the table says what is wrong


def test_instances_are_values() -> None:
    same = Instance(id="mugs-1", service="mugs", address="127.0.0.1", port=4001, metadata={"version": "1"}, weight=2)
    other = Instance(id="mugs-1", service="mugs", address="127.0.0.1", port=4001, weight=2)

    assert same == MUG
    assert len({same, MUG, other}) == 2


def test_a_registration_says_everything_consul_needs() -> None:
    body = registration(MUG, [GrpcCheck(target="127.0.0.1:4001/mugs.v1.Mugs", interval_s=1, timeout_s=0.5)])

    assert body == {
        "ID": "mugs-1",
        "Name": "mugs",
        "Address": "127.0.0.1",
        "Port": 4001,
        "Meta": {"version": "1"},
        "Weights": {"Passing": 2, "Warning": 1},
        "Checks": [
            {
                "GRPC": "127.0.0.1:4001/mugs.v1.Mugs",
                "Interval": "1000ms",
                "Timeout": "500ms",
                "Status": "critical",
                "DeregisterCriticalServiceAfter": "60000ms",
            }
        ],
    }


def test_every_kind_of_check_has_its_field() -> None:
    checks: list[Check] = [
        GrpcCheck(target="a:1"),
        HttpCheck(url="http://a"),
        TcpCheck(target="a:1"),
        TtlCheck(ttl_s=9, deregister_critical_after_s=None, initially_passing=True),
    ]

    bodies = registration(MUG, checks)["Checks"]

    kinds = {"GRPC", "HTTP", "TCP", "TTL"}
    assert [(kinds & body.keys()).pop() for body in bodies] == ["GRPC", "HTTP", "TCP", "TTL"]
    assert bodies[-1] == {"TTL": "9000ms", "Status": "passing"}


@pytest.mark.parametrize(
    ("changes", "described"),
    [
        ({}, True),
        ({"Tags": ["somebody's"]}, True),
        ({"Port": 4002}, False),
        ({"Address": "127.0.0.2"}, False),
        ({"Service": "cups"}, False),
        ({"Meta": None}, False),
        ({"Weights": {"Passing": 1, "Warning": 1}}, False),
    ],
)
def test_the_agents_view_is_compared_with_ours(changes: dict[str, object], described: bool) -> None:
    known = {
        "ID": "mugs-1",
        "Service": "mugs",
        "Address": "127.0.0.1",
        "Port": 4001,
        "Meta": {"version": "1"},
        "Weights": {"Passing": 2, "Warning": 1},
    }

    assert describes(known | changes, MUG) is described
    assert not describes(None, MUG)


def test_only_instances_that_can_be_called_come_out_of_an_answer() -> None:
    node = {"Address": "10.0.0.1"}
    entries = [
        {"Node": node, "Service": {"ID": "c", "Service": "mugs", "Address": "", "Port": 1, "Meta": None}},
        {"Node": node, "Service": {"ID": "b", "Service": "mugs", "Address": "mugs.internal", "Port": 1}},
        {"Node": node, "Service": {"ID": "d", "Service": "mugs", "Address": "10.0.0.2", "Port": 0}},
        {
            "Node": node,
            "Service": {"ID": "a", "Service": "mugs", "Address": "::1", "Port": 2, "Weights": {"Passing": 5}},
        },
    ]

    assert healthy_instances(entries) == (
        Instance(id="a", service="mugs", address="::1", port=2, weight=5),
        Instance(id="c", service="mugs", address="10.0.0.1", port=1),
    )
