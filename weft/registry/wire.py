"""Values to Consul's JSON and back."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from weft.registry.duration import format_duration
from weft.registry.instance import Check, GrpcCheck, HttpCheck, Instance, TcpCheck, TtlCheck

log = logging.getLogger(__name__)


def registration(instance: Instance, checks: Iterable[Check]) -> dict[str, Any]:
    """Return the body of `PUT /v1/agent/service/register`."""
    return {
        "ID": instance.id,
        "Name": instance.service,
        "Address": instance.address,
        "Port": instance.port,
        "Meta": dict(instance.metadata),
        "Weights": {"Passing": instance.weight, "Warning": 1},
        "Checks": [_check(check) for check in checks],
    }


def describes(known: Mapping[str, Any] | None, instance: Instance) -> bool:
    """Tell whether *known*, an entry of `/v1/agent/services`, says what registering *instance* would make it say."""
    return (
        known is not None
        and occupies(known, instance)
        and (known.get("Meta") or {}) == instance.metadata
        and (known.get("Weights") or {}).get("Passing") == instance.weight
    )


def occupies(known: Mapping[str, Any], instance: Instance) -> bool:
    """Tell whether *known* is *instance* at its very address, and not another process under the same id."""
    there = known.get("ID"), known.get("Service"), known.get("Address"), known.get("Port")
    return there == (instance.id, instance.service, instance.address, instance.port)


def healthy_instances(entries: Iterable[Mapping[str, Any]]) -> tuple[Instance, ...]:
    """Return the instances in the answer of `/v1/health/service/<name>`, by id.

    An entry without an IP address or a port cannot be called and is left out.
    """
    instances = (_instance(entry["Node"], entry["Service"]) for entry in entries)
    return tuple(sorted(filter(None, instances), key=lambda instance: (instance.id, instance.address, instance.port)))


def _instance(node: Mapping[str, Any], service: Mapping[str, Any]) -> Instance | None:
    try:
        return Instance(
            id=service["ID"],
            service=service["Service"],
            address=service["Address"] or node["Address"],
            port=service["Port"],
            metadata=service.get("Meta") or {},
            weight=(service.get("Weights") or {}).get("Passing", 1),
        )
    except ValueError as error:
        log.debug("instance left out", extra={"weft.instance": service["ID"], "error.message": str(error)})
        return None


def _check(check: Check) -> dict[str, Any]:
    body: dict[str, Any] = {"Status": "passing" if check.initially_passing else "critical"}
    if check.deregister_critical_after_s is not None:
        body["DeregisterCriticalServiceAfter"] = format_duration(check.deregister_critical_after_s)
    match check:
        case TtlCheck():
            return body | {"TTL": format_duration(check.ttl_s)}
        case GrpcCheck():
            body["GRPC"] = check.target
        case HttpCheck():
            body["HTTP"] = check.url
        case TcpCheck():
            body["TCP"] = check.target
    return body | {"Interval": format_duration(check.interval_s), "Timeout": format_duration(check.timeout_s)}
