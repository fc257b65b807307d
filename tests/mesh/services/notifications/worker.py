"""A replica in a process of its own, killed between sending and noting: `python -m … JSON`.

Says `taken` on standard output as soon as whoever delivers has taken a message, and then does nothing more.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from services.notifications.__main__ import Config, open_transports
from services.notifications.domain import Channel, Contact
from services.notifications.office import Office
from services.notifications.rendering import Renderer
from services.notifications.sending import Pace
from weft.data import Database

if TYPE_CHECKING:
    from services.notifications.transport import Message, Transport


class Somebody:
    """Stands for `users`, which a process without keys may not ask."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told

    async def find(self, user_id: str) -> Contact:
        return Contact(
            user_id=user_id,
            first_name="Ada",
            language="en",
            channels=(Channel(self._told["channel"]),),
            addresses={Channel(self._told["channel"]): self._told["address"]},
        )


class Stopping:
    """A transport after which nothing comes."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, message: Message) -> None:
        await self._transport.send(message)
        sys.stdout.write("taken\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def main(told: dict[str, Any]) -> None:
    pace = Pace(lease_s=told["lease_s"], send_s=60.0, poll_s=0.02)
    async with Database.open(told["database"]) as database, open_transports(Config(**told["settings"])) as transports:
        stopping = {channel: Stopping(transport) for channel, transport in transports.items()}
        office = Office(database, Somebody(told), Renderer("Weft Shop"), stopping, pace=pace)  # type: ignore[arg-type]  # see Somebody
        await asyncio.gather(*(loop() for loop in office.loops))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if secret := given["settings"].get("webhook_secret_file"):
        from pathlib import Path

        given["settings"]["webhook_secret_file"] = Path(secret)
    asyncio.run(main(given))
