"""The state in Consul's JSON, field by field as 1.8.7 writes it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from weft.registry.agent.state import Check, KvEntry, Service

VERSION: Final = "1.8.7"  # of the Consul whose answers these are
DATACENTER: Final = "dc1"

_NODE_META: Final = {"consul-network-segment": ""}


@dataclass(frozen=True, slots=True)
class Node:
    """The machine the agent stands for."""

    name: str
    id: str
    address: str

    def addresses(self) -> dict[str, str]:
        return dict.fromkeys(("lan", "lan_ipv4", "wan", "wan_ipv4"), self.address)

    def own_check(self) -> dict[str, Any]:
        """Return the check Consul keeps of every node; this one passes for as long as it can be asked."""
        return _check_body("serfHealth", "Serf Health Status", "passing", output="Agent alive and reachable", node=self)


def agent_self(node: Node) -> dict[str, Any]:
    config = {
        "Datacenter": DATACENTER,
        "NodeName": node.name,
        "NodeID": node.id,
        "Revision": "embedded",
        "Server": True,
        "Version": VERSION,
    }
    member = {
        "Name": node.name,
        "Addr": node.address,
        "Port": 0,
        "Tags": {"dc": DATACENTER, "id": node.id},
        "Status": 1,
    }
    return {"Config": config, "DebugConfig": {}, "Coord": None, "Member": member, "Stats": {}, "Meta": _NODE_META}


def agent_service(service: Service) -> dict[str, Any]:
    definition = service.definition
    body = {
        "ID": definition.id,
        "Service": definition.name,
        "Tags": list(definition.tags),
        "Meta": dict(definition.meta),
        "Port": definition.port,
        "Address": definition.address,
        "Weights": _weights(service),
        "EnableTagOverride": False,
    }
    addresses = _service_addresses(service)
    return body | {"TaggedAddresses": addresses} if addresses else body


def content_hash(body: dict[str, Any]) -> str:
    """Return what `X-Consul-Contenthash` says of one registration; only good for telling two apart."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def catalog_service(node: Node, service: Service) -> dict[str, Any]:
    definition = service.definition
    body = {
        "ID": node.id,
        "Node": node.name,
        "Address": node.address,
        "Datacenter": DATACENTER,
        "TaggedAddresses": node.addresses(),
        "NodeMeta": _NODE_META,
        "ServiceKind": "",
        "ServiceID": definition.id,
        "ServiceName": definition.name,
        "ServiceTags": list(definition.tags),
        "ServiceAddress": definition.address,
        "ServiceWeights": _weights(service),
        "ServiceMeta": dict(definition.meta),
        "ServicePort": definition.port,
        "ServiceEnableTagOverride": False,
        "ServiceProxy": {"MeshGateway": {}, "Expose": {}},
        "ServiceConnect": {},
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    }
    addresses = _service_addresses(service)
    return body | {"ServiceTaggedAddresses": addresses} if addresses else body


def health_entry(node: Node, service: Service, checks: Iterable[Check]) -> dict[str, Any]:
    described = agent_service(service) | {
        "Meta": dict(service.definition.meta) or None,  # null here, {} there: as in Consul
        "Proxy": {"MeshGateway": {}, "Expose": {}},
        "Connect": {},
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    }
    located = {
        "ID": node.id,
        "Node": node.name,
        "Address": node.address,
        "Datacenter": DATACENTER,
        "TaggedAddresses": node.addresses(),
        "Meta": _NODE_META,
        "CreateIndex": 1,
        "ModifyIndex": 1,
    }
    return {"Node": located, "Service": described, "Checks": [node.own_check(), *(_check(node, c) for c in checks)]}


def kv_entry(entry: KvEntry) -> dict[str, Any]:
    return {
        "LockIndex": 0,
        "Key": entry.key,
        "Flags": entry.flags,
        "Value": base64.b64encode(entry.value).decode() if entry.value else None,
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
    }


def _check(node: Node, check: Check) -> dict[str, Any]:
    return _check_body(check.check_id, check.name, check.status, output=check.output, node=node) | {
        "Notes": check.notes,
        "ServiceID": check.service_id,
        "ServiceName": check.service_name,
        "ServiceTags": list(check.service_tags),
        "Type": check.kind,
        "CreateIndex": check.create_index,
        "ModifyIndex": check.modify_index,
    }


def _check_body(check_id: str, name: str, status: str, *, output: str, node: Node) -> dict[str, Any]:
    return {
        "Node": node.name,
        "CheckID": check_id,
        "Name": name,
        "Status": status,
        "Notes": "",
        "Output": output,
        "ServiceID": "",
        "ServiceName": "",
        "ServiceTags": [],
        "Type": "",
        "Definition": {},
        "CreateIndex": 1,
        "ModifyIndex": 1,
    }


def _weights(service: Service) -> dict[str, int]:
    return {"Passing": service.definition.weight_passing, "Warning": service.definition.weight_warning}


def _service_addresses(service: Service) -> dict[str, Any]:
    definition = service.definition
    try:
        family = f"ipv{ip_address(definition.address).version}"
    except ValueError:  # a host name, or none
        return {}
    address = {"Address": definition.address, "Port": definition.port}
    return {f"lan_{family}": address, f"wan_{family}": address}
