"""The embedded agent, put together."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from aiohttp import web

from weft.registry.agent.checks import Checker
from weft.registry.agent.http import Api, Wakeup
from weft.registry.agent.render import Node
from weft.registry.agent.state import State

_STOP_S = 1.0


class Agent:
    """Serves the part of Consul's HTTP API that the mesh uses, from memory; an async context manager.

    For development and tests: one node, no persistence, no access control.

    Args:
        address: IP address to listen on; without access control it should be loopback.
        port: 0 takes a free one, see `url`.
        node_name: what answers call this machine.
        max_blocked: how many blocking queries may wait at one time.
        reap_every_s: how often instances that stay critical are looked for.
        minimum_deregister_s: lower bound of `DeregisterCriticalServiceAfter`.
        minimum_interval_s: lower bound of a check's interval.

    Raises:
        OSError: the port is taken, when entered.
    """

    def __init__(
        self,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        node_name: str = "embedded",
        max_blocked: int = 512,
        reap_every_s: float = 30.0,
        minimum_deregister_s: float = 60.0,
        minimum_interval_s: float = 1.0,
    ) -> None:
        self._address = address
        self.port = port
        self._node = Node(name=node_name, id=str(uuid.uuid4()), address=address)
        self._max_blocked = max_blocked
        self._reap_every_s = reap_every_s
        self._minimum_deregister_s = minimum_deregister_s
        self._minimum_interval_s = minimum_interval_s
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """Base address of the API; the port is known once the agent is entered."""
        host = f"[{self._address}]" if ":" in self._address else self._address
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            moved = Wakeup()
            state = State(moved)
            checker = await stack.enter_async_context(
                Checker(
                    state,
                    minimum_interval_s=self._minimum_interval_s,
                    reap_every_s=self._reap_every_s,
                    minimum_deregister_s=self._minimum_deregister_s,
                )
            )
            api = Api(state, checker, self._node, moved, max_blocked=self._max_blocked)
            # A caller that hangs up must not keep its place among the waiting.
            runner = web.AppRunner(
                api.application(), access_log=None, handler_cancellation=True, shutdown_timeout=_STOP_S
            )
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            stack.callback(api.close)
            site = web.TCPSite(runner, self._address, self.port)
            await site.start()
            self.port = runner.addresses[0][1]
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
