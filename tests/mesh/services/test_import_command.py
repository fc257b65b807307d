"""`weft import products`, against a catalog."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from services.commands import importing
from tests.mesh.services.test_catalog_service import listed
from weft.cli.added import CommandContext, CommandFailed
from weft.cli.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mesh.services.conftest import Catalog


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


async def run(catalog: Catalog, folder: Path, file: Path, *arguments: str, screen: StringIO | None = None) -> int:
    """Run the command as an administrator."""
    token = folder / "token"
    token.write_text(catalog.admin._metadata[0][1].removeprefix("Bearer ") + "\n")
    parser = ArgumentParser()
    importing.add_arguments(parser)
    known = ["products", str(file), "--gateway", f"http://{catalog.server.target}", "--token-file", str(token)]
    options = parser.parse_args([*known, *arguments])
    context = CommandContext(terminal=Terminal(screen or StringIO(), {"NO_COLOR": "1"}), state=folder, gateway_url=None)
    return await asyncio.to_thread(importing.run, options, context)


async def test_a_file_is_imported_with_progress_for_who_watches(catalog: Catalog, tmp_path: Path) -> None:
    file, screen = tmp_path / "spring.csv", Screen()
    file.write_text("sku,name,category,price\n" + "".join(f"SKU-{n},Thing,home,{n}\n" for n in range(5000)))

    code = await run(catalog, tmp_path, file, screen=screen)

    assert code == 0
    assert "100%  spring.csv" in screen.getvalue()
    assert "5000 of 5000 lines" in screen.getvalue()
    assert await listed(catalog, order_by="price", page_size=2) == ["SKU-0", "SKU-1"]


async def test_lines_that_fail_are_printed_and_make_it_fail(catalog: Catalog, tmp_path: Path) -> None:
    file, pipe = tmp_path / "spring.csv", StringIO()
    file.write_text("sku,name,category,price\nMUG,Mug,home,1\nbad sku,Mug,home,1\nPOT,Pot\n")

    code = await run(catalog, tmp_path, file, screen=pipe)

    assert code == 1
    first, second, *_ = pipe.getvalue().splitlines()
    assert first == "line 3, sku: must match [A-Z0-9][A-Z0-9._-]* (INVALID_FIELDS)"
    assert second == "line 4: must have 4 columns as the header has, not 2 (LINE_MALFORMED)"
    assert "2 lines were not imported" in pipe.getvalue()
    assert "\r" not in pipe.getvalue()
    assert await listed(catalog) == ["MUG"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("spring.csv", "sku;name\n", "IMPORT_MALFORMED: the header lacks sku"),
        ("spring.txt", "", "give --format"),
        ("gone.csv", None, "No such file"),
    ],
)
async def test_what_cannot_be_imported_is_said_in_one_line(
    catalog: Catalog, tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)

    with pytest.raises(CommandFailed, match=words):
        await run(catalog, tmp_path, file)


async def test_a_files_format_may_be_told(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "spring.txt"
    file.write_text('{"sku": "MUG", "name": "Mug", "category": "home", "price": {"currencyCode": "EUR"}}\n')

    assert await run(catalog, tmp_path, file, "--format", "ndjson") == 0
    assert await listed(catalog) == ["MUG"]


def test_without_a_mesh_it_says_how_to_start_one(tmp_path: Path) -> None:
    parser = ArgumentParser()
    importing.add_arguments(parser)
    context = CommandContext(terminal=Terminal(StringIO(), {}), state=tmp_path, gateway_url=None)

    with pytest.raises(CommandFailed, match="weft up"):
        importing.run(parser.parse_args(["products", "x.csv"]), context)
