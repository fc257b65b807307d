"""Debian's RabbitMQ, for as long as a bench needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from scripts.lib.bench.result import BenchFailed
from scripts.lib.chaos.mesh import ChaosFailed
from scripts.lib.chaos.rabbitmq import running_rabbitmq

__all__ = ["rabbitmq"]


@contextmanager
def rabbitmq(files: Path) -> Iterator[str]:
    """Run the server with all it keeps in *files*; yield its URL. Raises BenchFailed."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_rabbitmq(files))
        except ChaosFailed as error:
            raise BenchFailed(str(error)) from None
        yield server.url
