"""`python -m weft.contract`: check contracts, and write what follows from them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weft.contract import ContractError, load_image, read_contract
from weft.contract.openapi import render_openapi


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m weft.contract", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    openapi = commands.add_parser(
        "openapi", help="write the REST API as OpenAPI 3.1; fails where a contract breaks a rule"
    )
    openapi.add_argument("image", type=Path, help="descriptor image of the contracts, with comments")
    openapi.add_argument("--output", type=Path, required=True, help="file to write")
    openapi.add_argument("--title", default="REST API", help="of the API (%(default)s)")
    openapi.add_argument("--version", default="1", help="of the API (%(default)s)")
    arguments = parser.parse_args()
    files = load_image(arguments.image).file
    try:
        contract = read_contract(files)
    except ContractError as error:
        sys.exit(str(error))
    arguments.output.write_text(render_openapi(contract, files, title=arguments.title, version=arguments.version))


if __name__ == "__main__":
    main()
