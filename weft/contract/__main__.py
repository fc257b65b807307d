"""`python -m weft.contract`: check contracts, and write what follows from them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from weft.contract import ContractError, load_image, read_contract
from weft.contract.asyncapi import render_asyncapi
from weft.contract.openapi import render_openapi

_DOCUMENTS: Final = {
    "openapi": ("REST API", "write the REST API as OpenAPI 3.1", render_openapi),
    "asyncapi": ("Events", "write the events as AsyncAPI 3.0", render_asyncapi),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m weft.contract", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (title, text, _) in _DOCUMENTS.items():
        command = commands.add_parser(name, help=f"{text}; fails where a contract breaks a rule")
        command.add_argument("image", type=Path, help="descriptor image of the contracts, with comments")
        command.add_argument("--output", type=Path, required=True, help="file to write")
        command.add_argument("--title", default=title, help="of the document (%(default)s)")
        command.add_argument("--version", default="1", help="of the document (%(default)s)")
    arguments = parser.parse_args()
    files = load_image(arguments.image).file
    render = _DOCUMENTS[arguments.command][2]
    try:
        text = render(read_contract(files), files, title=arguments.title, version=arguments.version)
    except ContractError as error:
        sys.exit(str(error))
    arguments.output.write_text(text)


if __name__ == "__main__":
    main()
