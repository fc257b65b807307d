"""`weft import products FILE`: put a whole file on sale."""

from __future__ import annotations

import asyncio
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import urlsplit

from weft.cli.added import CommandFailed

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from grpc import aio
    from shop.catalog.v1 import catalog_pb2

    from weft.cli.added import CommandContext
    from weft.cli.terminal import Terminal

__all__ = ["EXAMPLES", "HELP", "add_arguments", "run"]

HELP: Final = "add products, or change those that are there, from the lines of a CSV or NDJSON file"
EXAMPLES: Final = (
    "weft import products spring.csv",
    "weft import products export.ndjson --gateway https://shop.example.com --token-file admin.token",
)
FORMATS: Final = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
PIECE_BYTES: Final = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["products"], metavar="products")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="in UTF-8; the API's reference has its columns and fields"
    )
    parser.add_argument("--format", choices=sorted(set(FORMATS.values())), help="(default: what the file's name says)")
    parser.add_argument("--gateway", metavar="URL", help="of the shop (default: that of the mesh that runs here)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE",
        help="holds an administrator's access token (default: log in as the administrator of the mesh that runs here)",
    )  # fmt: skip


def run(options: argparse.Namespace, context: CommandContext) -> int:
    """Return 0 if all lines are imported, 1 if some are not.

    Raises:
        CommandFailed: the file can't be read, or the shop refuses it.
    """
    name = options.format or FORMATS.get(options.file.suffix.lower())
    if name is None:
        raise CommandFailed(f"{options.file.name} does not say by its name what it is: give --format")
    gateway_url = options.gateway or context.gateway_url
    if gateway_url is None:
        raise CommandFailed(f"no mesh runs from {context.state}: start it with weft up, or give --gateway")
    try:
        token = options.token_file.read_text().strip() if options.token_file else None
        with options.file.open("rb") as file:
            answer = asyncio.run(_import(file, name, gateway_url, token, context))
    except (OSError, UnicodeError) as error:
        raise CommandFailed(str(error)) from error
    return _tell(answer, context.terminal)


async def _import(
    file: BinaryIO, name: str, gateway_url: str, token: str | None, context: CommandContext
) -> catalog_pb2.ImportProductsResponse:
    from grpc import aio  # noqa: PLC0415  # other commands of weft do without
    from shop.catalog.v1 import catalog_pb2, catalog_pb2_grpc  # noqa: PLC0415  # as above

    from weft.client import PeerError  # noqa: PLC0415  # as above

    token = token or await _administrators_token(gateway_url, context.state)
    format_ = catalog_pb2.ImportProductsRequest.Format.Value(f"FORMAT_{name.upper()}")
    size = max(1, file.seek(0, SEEK_END))
    file.seek(0)

    async def pieces() -> AsyncIterator[catalog_pb2.ImportProductsRequest]:
        yield catalog_pb2.ImportProductsRequest(format=format_)
        while data := file.read(PIECE_BYTES):
            yield catalog_pb2.ImportProductsRequest(data=data)
            context.terminal.progress(file.tell() / size, Path(file.name).name)

    try:
        async with _channel(gateway_url) as channel:
            stub = catalog_pb2_grpc.CatalogServiceStub(channel)
            answer: catalog_pb2.ImportProductsResponse = await stub.ImportProducts(
                pieces(), metadata=(("authorization", f"Bearer {token}"),)
            )
            return answer
    except aio.AioRpcError as error:
        refused = PeerError.from_rpc_error("catalog", error)
        raise CommandFailed(f"{refused.reason}: {refused.message}") from error


def _channel(gateway_url: str) -> aio.Channel:
    from grpc import aio, ssl_channel_credentials  # noqa: PLC0415  # as above

    url = urlsplit(gateway_url)
    if url.scheme == "https":
        return aio.secure_channel(f"{url.hostname}:{url.port or 443}", ssl_channel_credentials())
    return aio.insecure_channel(f"{url.hostname}:{url.port or 80}", options=[("grpc.enable_http_proxy", 0)])


async def _administrators_token(gateway_url: str, state: Path) -> str:
    import aiohttp  # noqa: PLC0415  # as above

    from services.local import TIMEOUT, admin_token  # noqa: PLC0415  # as above

    try:
        async with aiohttp.ClientSession(gateway_url, timeout=TIMEOUT) as session:
            return await admin_token(session, state)
    except (aiohttp.ClientError, OSError) as error:
        raise CommandFailed(f"the administrator of {state} can't log in at {gateway_url}: {error}") from error


def _tell(answer: catalog_pb2.ImportProductsResponse, terminal: Terminal) -> int:
    for error in answer.errors:
        where = f"line {error.line}, {error.field}" if error.field else f"line {error.line}"
        terminal.line(f"{where}: {error.description} ({error.reason})")
    if answer.failed > len(answer.errors):
        terminal.line(f"and {answer.failed - len(answer.errors)} more")
    terminal.done(f"{answer.lines - answer.failed} of {answer.lines} lines")
    counts = (("added", answer.added), ("changed", answer.changed), ("unchanged", answer.unchanged))
    terminal.table([(name, str(count)) for name, count in counts])
    if answer.failed:
        terminal.fail(f"{answer.failed} lines were not imported")
    return 1 if answer.failed else 0
