"""`weft demo`: somebody shops, and the owner watches it work."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from weft.cli.added import CommandFailed

if TYPE_CHECKING:
    import argparse

    from services.commands.demo.stage import Stage
    from services.commands.demo.story import Story
    from weft.cli.added import CommandContext

__all__ = ["EXAMPLES", "HELP", "add_arguments", "run"]

HELP: Final = "shop in the mesh that runs, as a shopper and as the owner, and tell the story"
EXAMPLES: Final = ("weft demo", "weft demo --json --timeout 120 > story.json")
TIMEOUT_S: Final = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="tell the story as one JSON document, and progress on stderr"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where the invoice is saved (default: demo in the mesh's directory)"
    )
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS",
        help=f"after which the demo gives up (default: {TIMEOUT_S:.0f})",
    )  # fmt: skip


def run(options: argparse.Namespace, context: CommandContext) -> int:
    """Return 0 when the story has come to its end.

    Raises:
        CommandFailed: no mesh runs here, or a step of the story failed.
    """
    from services.commands.demo.stage import Stage  # noqa: PLC0415  # other commands of weft do without
    from services.commands.demo.story import as_json, tell  # noqa: PLC0415  # as above

    terminal = context.terminal
    if options.json:
        terminal.redirect(sys.stderr)
    if context.gateway_url is None:
        raise CommandFailed(f"no mesh runs from {context.state}: start it with weft up")
    if not 0 < options.timeout < math.inf:
        raise CommandFailed("--timeout must be more than 0")
    story = _play(Stage(terminal), options, context.gateway_url, context.state)
    if options.json:
        terminal.redirect(sys.stdout)
        terminal.line(json.dumps(as_json(story), indent=2, ensure_ascii=False))
        return 0
    chapters = tell(story)
    width = max(len(name) for _, rows in chapters for name, _ in rows)
    for heading, rows in chapters:
        terminal.line(f"\n{heading}")
        terminal.table([(name.ljust(width), value) for name, value in rows])
    return 0


def _play(stage: Stage, options: argparse.Namespace, gateway_url: str, state: Path) -> Story:
    import aiohttp  # noqa: PLC0415  # as above

    from services.commands.demo.client import Refused  # noqa: PLC0415  # as above
    from services.commands.demo.play import play  # noqa: PLC0415  # as above

    async def in_time() -> Story:
        async with asyncio.timeout(options.timeout):
            return await play(
                stage,
                gateway_url=gateway_url,
                state=state,
                folder=(options.folder or state / "demo").resolve(),
                run=secrets.token_hex(3).upper(),
            )

    try:
        return asyncio.run(in_time())
    except (Refused, aiohttp.ClientError) as error:
        raise CommandFailed(f"{stage.step} failed: {error}") from error
    except TimeoutError as error:
        awaited = f", waiting for {stage.awaited}" if stage.awaited else ""
        raise CommandFailed(f"gave up after {options.timeout:g} s, during {stage.step}{awaited}") from error
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{stage.step} failed: {error}") from error
