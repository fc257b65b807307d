"""How other `weft` commands speak to a supervisor: one JSON line asks, JSON lines answer, over loopback.

A port with a secret instead of a Unix socket: a state directory may lie deeper than the 107 bytes a socket's path can
have, and a killed supervisor leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from weft.cli.state import MeshRecord

    Handler = Callable[..., AsyncIterator[object]]

__all__ = ["CommandFailed", "ask", "command_server"]

HOST: Final = "127.0.0.1"
ANSWER_S: Final = 600.0


class CommandFailed(Exception):
    """The supervisor could not do what it was asked; the message is one line."""


@asynccontextmanager
async def command_server(token: str, handlers: Mapping[str, Handler]) -> AsyncIterator[int]:
    """Serve *handlers* until exit; yield the port.

    A handler's keyword arguments are the command's, and what it yields is sent. It refuses by raising `CommandFailed`.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            async for answer in _answers(await reader.readline(), token, handlers):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _answers(line: bytes, token: str, handlers: Mapping[str, Handler]) -> AsyncIterator[Mapping[str, object]]:
    try:
        request = json.loads(line)
        if not hmac.compare_digest(str(request["token"]).encode(), token.encode()):
            yield {"error": "wrong token"}
            return
        async for each in handlers[request["command"]](**request["arguments"]):
            yield {"item": each}
    except CommandFailed as refusal:
        yield {"error": str(refusal)}
    except (ValueError, KeyError, TypeError) as error:
        yield {"error": f"not a command: {error!r}"}
    else:
        yield {"end": True}


def ask(record: MeshRecord, command: str, on_item: Callable[[Any], None], **arguments: object) -> None:
    """Send *command* to the supervisor of *record* and hand each item of the answer to *on_item*; blocks.

    Raises:
        CommandFailed: the supervisor refused, or does not answer.
    """
    try:
        with socket.create_connection((HOST, record.command_port), timeout=ANSWER_S) as connection:
            question = {"token": record.command_token, "command": command, "arguments": arguments}
            connection.sendall(json.dumps(question).encode() + b"\n")
            for line in connection.makefile("rb"):
                answer = json.loads(line)
                if "error" in answer:
                    raise CommandFailed(answer["error"])
                if "end" in answer:
                    return
                on_item(answer["item"])
    except OSError as error:
        raise CommandFailed(f"the supervisor does not answer: {error}") from error
    raise CommandFailed("the supervisor ended before it had answered")
