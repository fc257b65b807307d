"""`weft declare`: make the queue of every subscription before anything is published.

A service declares its own when it starts; RabbitMQ keeps nothing for one that starts later than those it hears.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from weft.cli.dlq import broker_url, read_contract_of
from weft.cli.terminal import Terminal, without_password

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from weft.cli.project import Project
    from weft.cli.state import State
    from weft.contract import Subscription

__all__ = ["declare"]

PATIENCE_S: Final = 30.0
"""A broker that is started at the same time needs some of it."""
AGAIN_S: Final = 0.5


def declare(
    options: argparse.Namespace, project: Project, state: State, terminal: Terminal, env: Mapping[str, str]
) -> int:
    """Declare every subscription of the project's contract; idempotent. Return the exit code.

    Raises:
        ProjectError: the contract can't be read.
    """
    url = broker_url(options.broker_url, state, env)
    if url is None:
        terminal.fail(f"no broker is known: no mesh runs from {state.path}; set WEFT_BROKER_URL, or give --broker-url")
        return 1
    project.make_importable()
    subscriptions = [each for service in read_contract_of(project).services for each in service.subscriptions]
    from weft.errors import ServiceError  # noqa: PLC0415  # as few imports as possible before there is work

    try:
        asyncio.run(_declare(url, subscriptions))
    except ServiceError as error:
        Terminal(sys.stderr, env).fail(f"{error.message}: {without_password(url)}")  # `weft up` shows what stands there
        return 1
    terminal.done(f"{len(subscriptions)} subscriptions")
    return 0


async def _declare(url: str, subscriptions: Sequence[Subscription]) -> None:
    from weft.errors import Unavailable  # noqa: PLC0415  # as above
    from weft.events.broker import open_broker  # noqa: PLC0415

    give_up_s = time.monotonic() + PATIENCE_S
    async with open_broker(url, name="weft declare") as broker:
        for subscription in subscriptions:
            while True:
                try:
                    await broker.declare(subscription)
                    break
                except Unavailable:
                    if time.monotonic() > give_up_s:
                        raise
                await asyncio.sleep(AGAIN_S)
