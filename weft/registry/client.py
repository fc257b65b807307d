"""An async client of the part of Consul's HTTP API that the mesh needs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from weft.registry.duration import format_duration
from weft.registry.errors import RegistryRefused, RegistryUnavailable
from weft.registry.instance import Check, Instance
from weft.registry.wire import healthy_instances, registration

T = TypeVar("T")

DEFAULT_WAIT_S: Final = 60.0
MAX_WAIT_S: Final = 600.0  # Consul cuts longer ones


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the registry said, and the index to wait on for something newer."""

    index: int
    value: T


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One entry of the key-value store; *modify_index* is what `Consul.kv_put` takes as *cas*."""

    key: str
    value: bytes
    modify_index: int


class Consul:
    """Speaks to one Consul agent; an async context manager, safe to share between tasks.

    Reading methods take *index* and *wait_s*: with an index above 0 the call blocks until the registry holds something
    newer, for at most *wait_s* seconds, (0, 600], and Consul's jitter of a sixteenth of that.
    That a call returned does not mean anything has changed: compare the value.

    Every method raises:
        RegistryUnavailable: no answer within *timeout_s* (added to the wait of a blocking query), a 5xx or a 429.
        RegistryRefused: any other 4xx, with Consul's reason.

    Args:
        url: base address of the agent, `http://127.0.0.1:8500`.
        token: ACL token, sent as `X-Consul-Token`.
        timeout_s: deadline of a call that does not block.
        max_connections: upper bound; every blocking query occupies one connection while it waits.
    """

    def __init__(
        self, url: str, *, token: str | None = None, timeout_s: float = 5.0, max_connections: int = 256
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = {"X-Consul-Token": token} if token else {}
        self._timeout_s = timeout_s
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._max_connections)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def register(self, instance: Instance, checks: Iterable[Check] = ()) -> None:
        """Register *instance* on this agent with exactly *checks*. Idempotent."""
        body = json.dumps(registration(instance, checks)).encode()
        await self._call("PUT", "/v1/agent/service/register", {"replace-existing-checks": "true"}, body)

    async def deregister(self, instance_id: str) -> None:
        """Forget an instance and its checks. Idempotent: one that is not known is not an error."""
        try:
            await self._call("PUT", f"/v1/agent/service/deregister/{_segment(instance_id)}")
        except RegistryRefused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:  # newer releases answer so where 1.8 said 200
                raise

    async def agent_services(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what this agent has been told to register, by id, as Consul words it."""
        return _object((await self._call("GET", "/v1/agent/services"))[1])

    async def agent_service(self, instance_id: str) -> Mapping[str, Any] | None:
        """Return one registration of this agent as Consul words it, or None."""
        try:
            return _object((await self._call("GET", f"/v1/agent/service/{_segment(instance_id)}"))[1])
        except RegistryRefused as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def report(self, check_id: str, status: Literal["pass", "warn", "fail"], *, note: str = "") -> None:
        """Set the status of a `TtlCheck`; the id of an instance's only check is `service:<instance id>`."""
        await self._call("PUT", f"/v1/agent/check/{status}/{_segment(check_id)}", {"note": note} if note else {})

    async def services(self, *, index: int = 0, wait_s: float = DEFAULT_WAIT_S) -> Answer[frozenset[str]]:
        """Return the names of all registered services, healthy or not, Consul's own `consul` among them."""
        return await self._read("/v1/catalog/services", {}, index, wait_s, lambda body: frozenset(_object(body)))

    async def healthy(
        self, service: str, *, index: int = 0, wait_s: float = DEFAULT_WAIT_S
    ) -> Answer[tuple[Instance, ...]]:
        """Return the instances of *service* whose checks all pass; none for a service nobody knows."""
        path = f"/v1/health/service/{_segment(service)}"
        return await self._read(path, {"passing": "1"}, index, wait_s, lambda body: healthy_instances(_array(body)))

    async def kv_get(self, key: str, *, index: int = 0, wait_s: float = DEFAULT_WAIT_S) -> Answer[KeyValue | None]:
        """Return the entry under *key*, or None."""
        return await self._read(f"/v1/kv/{quote(key)}", {}, index, wait_s, _entry)

    async def kv_put(self, key: str, value: bytes, *, cas: int | None = None) -> bool:
        """Store *value*, at most 512 KiB.

        With *cas*, only if the entry's `modify_index` is still that, 0 meaning that there is no entry.

        Returns:
            Whether the value was stored.
        """
        params = {} if cas is None else {"cas": str(cas)}
        return _json((await self._call("PUT", f"/v1/kv/{quote(key)}", params, value))[1]) is True

    async def kv_delete(self, key: str) -> None:
        """Remove the entry under *key*. Idempotent."""
        await self._call("DELETE", f"/v1/kv/{quote(key)}")

    async def leader(self) -> str:
        """Return the leader's address. Raises RegistryUnavailable while there is none."""
        leader = _json((await self._call("GET", "/v1/status/leader"))[1])
        if not leader:
            raise RegistryUnavailable("the registry has no leader")
        return str(leader)

    async def agent_self(self) -> Mapping[str, Any]:
        """Return the agent's own configuration and membership."""
        return _object((await self._call("GET", "/v1/agent/self"))[1])

    async def _read(
        self, path: str, params: Mapping[str, str], index: int, wait_s: float, parse: Callable[[bytes], T]
    ) -> Answer[T]:
        timeout_s = self._timeout_s
        if index > 0:
            if not 0 < wait_s <= MAX_WAIT_S:  # Consul takes 0 for its default of 300
                raise ValueError(f"wait_s {wait_s} is not within (0, {MAX_WAIT_S:g}]")
            params = {**params, "index": str(index), "wait": format_duration(wait_s)}
            timeout_s += wait_s * 17 / 16  # Consul adds up to a sixteenth; one time is derived from the other
        headers, body = await self._call("GET", path, params, timeout_s=timeout_s, missing_is_empty=True)
        try:
            return Answer(int(headers["X-Consul-Index"]), parse(body))
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryUnavailable(f"GET {path}: not an answer of Consul's: {error!r}") from error

    async def _call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        timeout_s: float | None = None,
        missing_is_empty: bool = False,
    ) -> tuple[Mapping[str, str], bytes]:
        if self._session is None:
            raise RuntimeError("Consul is an async context manager: enter it first")
        url = URL(self.url + path, encoded=True).with_query(params or {})
        timeout = aiohttp.ClientTimeout(total=timeout_s or self._timeout_s)
        try:
            async with self._session.request(
                method, url, data=body, timeout=timeout, allow_redirects=False
            ) as response:
                content = await response.read()
        except TimeoutError as error:
            raise RegistryUnavailable(f"{method} {path}: no answer in {timeout.total:g} s") from error
        except aiohttp.ClientError as error:
            raise RegistryUnavailable(f"{method} {path}: {error}") from error
        if response.status == HTTPStatus.NOT_FOUND and missing_is_empty and "X-Consul-Index" in response.headers:
            return response.headers, b""
        if response.status < HTTPStatus.BAD_REQUEST:
            return response.headers, content
        reason = content.decode(errors="replace").strip() or response.reason or "no reason given"
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RegistryUnavailable(f"{method} {path}: {response.status}: {reason}")
        raise RegistryRefused(response.status, reason)


def _segment(name: str) -> str:
    return quote(name, safe="")


def _object(body: bytes) -> dict[str, Any]:
    value = _json(body)
    if not isinstance(value, dict):
        raise RegistryUnavailable("not an answer of Consul's: expected an object")
    return value


def _array(body: bytes) -> list[dict[str, Any]]:
    value = _json(body)
    if not isinstance(value, list):
        raise RegistryUnavailable("not an answer of Consul's: expected an array")
    return value


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise RegistryUnavailable("not an answer of Consul's: expected JSON") from error


def _entry(body: bytes) -> KeyValue | None:
    if not body:
        return None
    (entry,) = _array(body)
    return KeyValue(entry["Key"], base64.b64decode(entry["Value"] or ""), entry["ModifyIndex"])
