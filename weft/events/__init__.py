"""Events between services: published with a transaction, delivered at least once and in order, applied once."""

from weft.events.broker import Broker, BrokerUnavailable, DeadLetter, Delivery, Depth, QueueMismatch, open_broker
from weft.events.consumer import Consumer
from weft.events.outbox import MAX_EVENT_BYTES, Outbox
from weft.events.received import Handler, Received
from weft.events.relay import Relay
from weft.events.service import ServiceEvents

__all__ = [
    "MAX_EVENT_BYTES",
    "Broker",
    "BrokerUnavailable",
    "Consumer",
    "DeadLetter",
    "Delivery",
    "Depth",
    "Handler",
    "Outbox",
    "QueueMismatch",
    "Received",
    "Relay",
    "ServiceEvents",
    "open_broker",
]
