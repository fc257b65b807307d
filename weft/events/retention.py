"""How long what was said and heard is kept.

Whoever applied an event has to remember it for longer than a copy of it may still come: a copy waits at the broker,
becomes a dead letter, is kept as that, is redriven, and waits again.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BROKER_KEPT_S", "DEAD_KEPT_S", "INBOX_KEPT_S", "OUTBOX_KEPT_S"]

_DAY_S: Final = 86_400.0

OUTBOX_KEPT_S: Final = 7 * _DAY_S
"""Published events, for whoever has to find out what was said."""
BROKER_KEPT_S: Final = 7 * _DAY_S
"""Events in NATS, from which a subscription that is made later begins. RabbitMQ keeps them until they are applied."""
DEAD_KEPT_S: Final = 30 * _DAY_S
"""Dead letters, for whoever has to decide about them. RabbitMQ can be told at most 49 days."""
INBOX_KEPT_S: Final = 45 * _DAY_S
"""Which events were applied: twice `BROKER_KEPT_S` and `DEAD_KEPT_S`, at least."""
