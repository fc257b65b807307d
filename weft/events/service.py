"""Everything of events that runs beside a service's calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

from google.protobuf.message import Message

from weft.contract import Subscription
from weft.data import Database
from weft.events.arrival import Route
from weft.events.broker import Broker
from weft.events.consumer import Consumer
from weft.events.outbox import Outbox
from weft.events.received import Handler
from weft.events.relay import Relay
from weft.events.sweep import sweep
from weft.telemetry import Tracing

__all__ = ["ServiceEvents"]


class ServiceEvents:
    """A service's relay, its consumers, and the deletion of what they no longer need.

    Args:
        database: The service's, with its own tables and weft's.
        outbox: The one that the service publishes to.
        subscriptions: Of the service's contract.
        handlers: Message of each event of *subscriptions* -> what to do with it.
        broker: Where its events go, and others' come from.
        tracing: Of the process.
        turns: How many events this process applies at a time; each holds a connection of the service's pool, which
            calls need too.
        lease_s: After which another replica may take over a subscription from one that is gone.

    Raises:
        ValueError: an event has no handler, or a handler no event.
    """

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        subscriptions: Sequence[Subscription],
        handlers: Mapping[type[Message], Handler],
        broker: Broker,
        tracing: Tracing,
        turns: int = 3,
        lease_s: float = 5.0,
    ) -> None:
        routes = _routes(outbox.source, subscriptions, handlers)
        self._database = database
        share = asyncio.Semaphore(turns)
        self._loops: list[Callable[[], Coroutine[object, object, None]]] = [
            Relay(database, broker, outbox, tracing=tracing).run
        ]
        for subscription in subscriptions:
            consumer = Consumer(
                subscription,
                {event: routes[event] for event in subscription.events},
                database=database,
                broker=broker,
                tracing=tracing,
                turns=share,
                lease_s=lease_s,
            )
            self._loops.append(consumer.run)

    async def run(self) -> None:
        """Work until cancelled; then give back what is in hand. No failure of the broker or the database ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(sweep(self._database))
            for loop in self._loops:
                group.create_task(loop())


def _routes(
    service: str, subscriptions: Sequence[Subscription], handlers: Mapping[type[Message], Handler]
) -> dict[str, Route]:
    routes = {message.DESCRIPTOR.full_name: Route(message, handler) for message, handler in handlers.items()}
    heard = {event for subscription in subscriptions for event in subscription.events}
    problems = [
        *(f"{event} has no handler" for event in sorted(heard - set(routes))),
        *(f"no subscription names {event}, which has a handler" for event in sorted(set(routes) - heard)),
    ]
    if problems:
        raise ValueError(f"{service}: {'; '.join(problems)}")
    return routes
