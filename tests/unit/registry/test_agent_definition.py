"""Reading registrations; what a real Consul refuses too is tested against it in tests/mesh."""

from __future__ import annotations

import json

import pytest

from weft.registry.agent.definition import CheckDefinition, RefusedError, ServiceDefinition, read_registration


def read(body: object) -> tuple[ServiceDefinition, tuple[CheckDefinition, ...]]:
    return read_registration(json.dumps(body).encode())


def test_what_is_not_said_is_filled_in() -> None:
    service, checks = read({"Name": "mugs"})

    assert service == ServiceDefinition(id="mugs", name="mugs")
    assert checks == ()


def test_names_of_fields_ignore_case_and_underscores() -> None:
    service, (check,) = read(
        {"id": "m", "NAME": "mugs", "check": {"ttl": "1m30s", "deregister_critical_service_after": "2m"}}
    )

    assert (service.id, check.ttl_s, check.deregister_critical_after_s) == ("m", 90, 120)


def test_one_check_is_named_after_its_instance_and_several_are_numbered() -> None:
    ttl = {"TTL": "1s"}

    _, one = read({"ID": "mugs-1", "Name": "mugs", "Check": ttl})
    _, several = read({"ID": "mugs-1", "Name": "mugs", "Check": ttl, "Checks": [ttl, {}, {"CheckID": "mine", **ttl}]})

    assert [check.check_id for check in one] == ["service:mugs-1"]
    assert [check.check_id for check in several] == ["service:mugs-1:1", "service:mugs-1:2", "mine"]
    assert one[0].name == "Service 'mugs' check"


def test_a_number_is_a_duration_in_nanoseconds() -> None:
    _, (check,) = read({"Name": "mugs", "Check": {"TTL": 1_500_000_000}})

    assert check.ttl_s == 1.5


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Request decode failed"),
        (b"[]", "Request decode failed"),
        (b'{"Name": "mugs"', "Request decode failed"),
        (b"\xff", "Request decode failed"),
        (b'{"Name": 7}', "of type string"),
        (b'{"Name": "mugs", "Port": true}', "of type int"),
        (b'{"Name": "mugs", "Tags": "blue"}', "[]string"),
        (b'{"Name": "mugs", "Meta": {"a": 7}}', "of type string"),
        (b'{"Name": "mugs", "Meta": []}', "Request decode failed"),
        (b'{"Name": "mugs", "Checks": [7]}', "Request decode failed"),
        (b'{"Name": "mugs", "Weights": 7}', "Request decode failed"),
        (b'{"Name": "mugs", "Check": {"TTL": "1s", "Status": "splendid"}}', "Bad check status"),
        (
            b'{"Name": "mugs", "Check": {"TCP": "a:1", "HTTP": "http://a", "Interval": "1s"}}',
            "one of GRPC, HTTP and TCP",
        ),
        (b'{"Name": "mugs", "Connect": {"Native": true}}', "Connect is not supported by the embedded agent"),
    ],
)
def test_nonsense_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason.replace("[", r"\[")) as refused:
        read_registration(body)

    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({f"key-{number}": "" for number in range(65)}, "more than 64 pairs"),
        ({"k" * 129: ""}, "Key contains invalid characters"),
        ({"key": "v" * 513}, "Value is too long"),
    ],
)
def test_metadata_has_bounds(meta: dict[str, str], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        read({"Name": "mugs", "Meta": meta})
