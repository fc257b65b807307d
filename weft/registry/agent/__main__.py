"""Run the embedded agent until SIGTERM or SIGINT: `python -m weft.registry.agent --port 8500`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop

from weft.registry.agent import Agent


def main() -> int:
    """Return the exit status: 0 after a signal, 1 if the address cannot be listened on."""
    parser = argparse.ArgumentParser(prog="python -m weft.registry.agent", description=__doc__)
    parser.add_argument("--port", type=int, default=8500, help="port of the HTTP API, 0 for a free one (default 8500)")
    parser.add_argument("--address", default="127.0.0.1", help="IP address to listen on (default 127.0.0.1)")
    arguments = parser.parse_args()
    try:
        uvloop.run(_serve(arguments.address, arguments.port))
    except OSError as error:
        sys.stderr.write(f"registry agent: cannot listen on {arguments.address}:{arguments.port}: {error.strerror}\n")
        return 1
    return 0


async def _serve(address: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Agent(address=address, port=port) as agent:
        sys.stdout.write(f"registry agent: listening on {agent.url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
