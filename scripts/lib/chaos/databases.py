"""The services' databases, read past the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.extras

__all__ = ["Databases"]


class Databases:
    """Rows of each service's own tables. Every call blocks, and raises `psycopg2.Error` while the server is away."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(sorted(self._urls))

    def rows(self, service: str, query: str) -> Sequence[Mapping[str, Any]]:
        with closing(psycopg2.connect(self._urls[service], connect_timeout=5)) as connection:
            connection.set_session(readonly=True, autocommit=True)
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(query)
                found: Sequence[Mapping[str, Any]] = cursor.fetchall()
                return found

    def count(self, service: str, query: str) -> int:
        """Return the one number that *query* asks for."""
        (row,) = self.rows(service, query)
        return int(next(iter(row.values())))
