"""Run the simulated payment provider: `python -m services.payments.simulator --port 9200 --ledger ledger.db`."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from aiohttp import web

from services.payments.simulator.ledger import Ledger
from services.payments.simulator.server import application


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.payments.simulator", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1", help="IP address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=9200, help="TCP port; 0 lets the system choose (%(default)s)")
    parser.add_argument("--ledger", type=Path, required=True, help="SQLite file, made where it doesn't exist")
    options = parser.parse_args()
    asyncio.run(serve(options.address, options.port, options.ledger))


async def serve(address: str, port: int, path: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with Ledger.open(path) as ledger:
        runner = web.AppRunner(application(ledger), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, address, port).start()
            host, listens = runner.addresses[0][:2]
            print(f"payment provider at http://{host}:{listens}", flush=True)  # noqa: T201  # what a command is for
            await stop.wait()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    main()
