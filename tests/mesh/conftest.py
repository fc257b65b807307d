from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from weft.data.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", name="postgres")
def _postgres() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL; tests ask it for databases of their own."""
    # Not below pytest's own temporary folder, which nobody but its owner may enter.
    with TemporaryDirectory(prefix="weft-postgres-") as folder, EmbeddedPostgres(Path(folder), durable=False) as server:
        yield server
