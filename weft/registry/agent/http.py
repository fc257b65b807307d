"""Consul's HTTP API over the embedded agent's state."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

from aiohttp import web

from weft.registry.agent import render
from weft.registry.agent.checks import Checker
from weft.registry.agent.definition import RefusedError, Status, read_registration
from weft.registry.agent.render import Node
from weft.registry.agent.state import KvEntry, Reading, State
from weft.registry.duration import parse_duration

log = logging.getLogger(__name__)

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES: Final = 512 * 1024  # Consul's `kv_max_value_size`
DEFAULT_WAIT_S: Final = 300.0
MAX_WAIT_S: Final = 600.0

_REPORTS: Final[dict[str, Status]] = {"pass": "passing", "warn": "warning", "fail": "critical"}
_UNSUPPORTED: Final = frozenset({"filter", "tag", "node-meta"})  # ignored, they would answer too much


class Wakeup:
    """Wakes everybody who waits, each time; who comes later waits for the next time."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def __call__(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        return self._next


class Api:
    """The handlers; one object per agent.

    Args:
        state: what is served.
        checker: runs the checks of what is registered.
        node: the machine the answers speak of.
        moved: rings whenever *state* has moved an index.
        max_blocked: how many queries may wait at one time; more are answered 429.
    """

    def __init__(self, state: State, checker: Checker, node: Node, moved: Wakeup, *, max_blocked: int) -> None:
        self._state = state
        self._checker = checker
        self._node = node
        self._moved = moved
        self._max_blocked = max_blocked
        self._blocked = 0
        self._closing = False

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_plain_errors])
        app.add_routes(
            [
                web.put("/v1/agent/service/register", self._register),
                web.put("/v1/agent/service/deregister/{id}", self._deregister),
                web.put("/v1/agent/check/{report:pass|warn|fail}/{id}", self._report),
                web.get("/v1/agent/services", self._agent_services),
                web.get("/v1/agent/service/{id}", self._agent_service),
                web.get("/v1/agent/self", self._agent_self),
                web.get("/v1/status/leader", self._leader),
                web.get("/v1/catalog/services", self._catalog_services),
                web.get("/v1/catalog/service/{name:.*}", self._catalog_service),
                web.get("/v1/health/service/{name:.*}", self._health_service),
                web.get("/v1/kv/{key:.*}", self._kv_get),
                web.put("/v1/kv/{key:.*}", self._kv_put),
                web.delete("/v1/kv/{key:.*}", self._kv_delete),
            ]
        )
        return app

    def close(self) -> None:
        """Send everybody who waits away, so that stopping does not wait for them."""
        self._closing = True
        self._moved()

    async def _register(self, request: web.Request) -> web.Response:
        definition, checks = read_registration(await request.read())
        replace_checks = request.query.get("replace-existing-checks", "false") in {"", "1", "true"}
        self._state.register(definition, checks, replace_checks=replace_checks)
        self._checker.prune()
        self._checker.start(checks)
        return web.Response()

    async def _deregister(self, request: web.Request) -> web.Response:
        self._state.deregister(request.match_info["id"])  # an unknown id is fine, as in 1.8
        self._checker.prune()
        return web.Response()

    async def _report(self, request: web.Request) -> web.Response:
        check_id, status = request.match_info["id"], _REPORTS[request.match_info["report"]]
        if not self._checker.beat(check_id, status, request.query.get("note", "")):
            raise RefusedError(500, f'CheckID "{check_id}" does not have associated TTL')
        return web.Response()

    async def _agent_services(self, _: web.Request) -> web.Response:
        services = {service.definition.id: render.agent_service(service) for service in self._state.services()}
        return web.json_response(services)

    async def _agent_service(self, request: web.Request) -> web.Response:
        service = self._state.service(request.match_info["id"])
        if service is None:
            raise RefusedError(404, f"unknown service ID: {request.match_info['id']}")
        body = render.agent_service(service)
        digest = render.content_hash(body)
        return web.json_response(body | {"ContentHash": digest}, headers={"X-Consul-Contenthash": digest})

    async def _agent_self(self, _: web.Request) -> web.Response:
        return web.json_response(render.agent_self(self._node))

    async def _leader(self, _: web.Request) -> web.Response:
        return web.json_response(f"{self._node.address}:0")  # there is nobody to elect, nor a port to elect on

    async def _catalog_services(self, request: web.Request) -> web.Response:
        return _indexed(await self._blocking(request, self._state.names))

    async def _catalog_service(self, request: web.Request) -> web.Response:
        name = _name(request)
        reading = await self._blocking(request, lambda: self._state.instances(name))
        return _indexed(reading, [render.catalog_service(self._node, service) for service in reading.value])

    async def _health_service(self, request: web.Request) -> web.Response:
        name, passing = _name(request), _passing(request)
        reading = await self._blocking(request, lambda: self._state.health(name, passing=passing))
        return _indexed(reading, [render.health_entry(self._node, *entry) for entry in reading.value])

    async def _kv_get(self, request: web.Request) -> web.Response:
        key, recurse = request.match_info["key"], "recurse" in request.query
        if not key and not recurse:
            raise RefusedError(400, "Missing key name")
        read = self._state.kv_list if recurse else self._state.kv_get
        reading: Reading[list[KvEntry]] = await self._blocking(request, lambda: read(key))
        if not reading.value:
            return web.Response(status=HTTPStatus.NOT_FOUND, headers=_index_headers(reading))
        if "raw" in request.query:
            return web.Response(body=reading.value[0].value, content_type="text/plain", headers=_index_headers(reading))
        return _indexed(reading, [render.kv_entry(entry) for entry in reading.value])

    async def _kv_put(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        if not key:
            raise RefusedError(400, "Missing key name")
        flags, cas = _unsigned(request, "flags") or 0, _unsigned(request, "cas")
        return web.json_response(self._state.kv_put(key, await request.read(), flags=flags, cas=cas))

    async def _kv_delete(self, request: web.Request) -> web.Response:
        key, recurse, cas = request.match_info["key"], "recurse" in request.query, _unsigned(request, "cas")
        if recurse and cas is not None:
            raise RefusedError(400, "Conflicting flags: cas, recurse")
        if not key and not recurse:
            raise RefusedError(400, "Missing key name")
        return web.json_response(self._state.kv_delete(key, recurse=recurse, cas=cas))

    async def _blocking(self, request: web.Request, read: Callable[[], Reading[T]]) -> Reading[T]:
        """Read at once, or when the index has passed `?index=`, or when `?wait=` is over, whichever comes first."""
        if refused := _UNSUPPORTED & request.query.keys():
            raise RefusedError(400, f"?{min(refused)} is not supported by the embedded agent; run a real Consul")
        known, wait_s = _index(request), _wait_s(request)
        reading = read()
        if not known or reading.index > known:
            return reading
        if self._blocked >= self._max_blocked:
            raise RefusedError(429, "Your IP is issuing too many concurrent connections, please rate limit your calls")
        self._blocked += 1
        try:
            async with asyncio.timeout(wait_s + wait_s / 16 * random.random()):  # noqa: S311 not a secret
                while reading.index <= known:
                    if self._closing:
                        raise RefusedError(503, "the agent is shutting down")
                    await self._moved.next.wait()
                    latest = read()
                    if latest.signal != reading.signal:
                        reading = latest
        except TimeoutError:
            pass  # nothing newer is an answer too
        finally:
            self._blocked -= 1
        return reading


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as Consul does, one line of plain text."""
    try:
        return await handler(request)
    except RefusedError as refused:
        return web.Response(status=refused.status, text=str(refused))
    except web.HTTPRequestEntityTooLarge:
        size = request.content_length
        text = f"Request body({size} bytes) too large, max size: {MAX_BODY_BYTES} bytes."
        return web.Response(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text=text)
    except web.HTTPMethodNotAllowed as refused:
        text = f"method {refused.method} not allowed"
        return web.Response(status=refused.status, text=text, headers={"Allow": refused.headers["Allow"]})
    except web.HTTPNotFound as refused:
        return web.Response(status=refused.status)
    except Exception:
        log.exception("unhandled error", extra={"url.path": request.path})
        return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="internal error")


def _indexed(reading: Reading[Any], body: Any = None) -> web.Response:
    return web.json_response(reading.value if body is None else body, headers=_index_headers(reading), dumps=json.dumps)


def _index_headers(reading: Reading[Any]) -> dict[str, str]:
    return {"X-Consul-Index": str(reading.index), "X-Consul-Knownleader": "true", "X-Consul-Lastcontact": "0"}


def _name(request: web.Request) -> str:
    if not request.match_info["name"]:
        raise RefusedError(400, "Missing service name")
    return request.match_info["name"]


def _passing(request: web.Request) -> bool:
    match request.query.get("passing"):
        case None | "0" | "f" | "F" | "false" | "FALSE" | "False":
            return False
        case "" | "1" | "t" | "T" | "true" | "TRUE" | "True":
            return True
    raise RefusedError(400, "Invalid value for ?passing")


def _index(request: web.Request) -> int:
    text = request.query.get("index") or "0"
    if not (text.isascii() and text.isdigit()):
        raise RefusedError(400, "Invalid index")
    return int(text)


def _wait_s(request: web.Request) -> float:
    try:
        wait_s = parse_duration(request.query.get("wait") or "0")
    except ValueError:
        raise RefusedError(400, "Invalid wait time") from None
    return min(wait_s, MAX_WAIT_S) if wait_s > 0 else DEFAULT_WAIT_S


def _unsigned(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is not None and not (text.isascii() and text.isdigit()):
        raise RefusedError(500, f'strconv.ParseUint: parsing "{text}": invalid syntax')  # 500 is what Consul says
    return None if text is None else int(text)
