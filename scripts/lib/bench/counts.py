"""Numbers out of databases, asked for again and again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Self

import psycopg2

__all__ = ["Counts"]


class Counts:
    """Asks the databases of services. Connections stay open: making one costs a server more than a count does."""

    def __init__(self, connections: Mapping[str, Any]) -> None:
        """Use `Counts.open`."""
        self._connections = connections

    @classmethod
    @contextmanager
    def open(cls, urls: Mapping[str, str]) -> Iterator[Self]:
        """Connect to *urls*, service -> URL of its database."""
        with ExitStack() as stack:
            connections = {}
            for service, url in urls.items():
                connection = stack.enter_context(closing(psycopg2.connect(url)))
                connection.set_session(readonly=True, autocommit=True)
                connections[service] = connection
            yield cls(connections)

    def of(self, service: str, question: str) -> int:
        """Return the one number that the statement *question* asks for."""
        with self._connections[service].cursor() as cursor:
            cursor.execute(question)
            ((count,),) = cursor.fetchall()
            return int(count)
