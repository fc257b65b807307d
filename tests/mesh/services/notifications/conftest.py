from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mesh.services.notifications.parts import Desk, desk
from tests.mesh.services.notifications.providers import MailServer, Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.mesh.services.conftest import Users
    from weft.data import Database

SECRET = b"what only both sides know"


@pytest.fixture(name="desk")
async def _desk(empty_database: Callable[[str], Awaitable[Database]], users: Users) -> AsyncIterator[Desk]:
    async with desk(await empty_database("notifications"), users) as made:
        yield made


@pytest.fixture(name="mail")
async def _mail() -> AsyncIterator[MailServer]:
    async with MailServer().serving() as server:
        yield server


@pytest.fixture(name="receiver")
async def _receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture(name="secret_file")
def _secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    return path
