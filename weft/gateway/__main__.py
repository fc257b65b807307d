"""`python -m weft.gateway render`: write what Envoy starts with, from a contract."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weft.contract import ContractError, load_image, read_contract
from weft.gateway import docs
from weft.gateway.bootstrap import bootstrap
from weft.gateway.config import GatewayConfig
from weft.gateway.static import DOCS_FILE, IMAGE_FILE, JWKS_FILE, OPENAPI_FILE, static

HEAD = "# Rendered by python -m weft.gateway render. Don't edit.\n"
BOOTSTRAP = "# Envoy with a control plane: listeners, routes, clusters and endpoints come over ADS.\n"
STATIC = f"""\
# The same gateway without a control plane: services by name, port 50051; gRPC reflection left out.
# It needs {IMAGE_FILE}, {OPENAPI_FILE}, {DOCS_FILE} and, with the public keys of who signs tokens, {JWKS_FILE}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m weft.gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="write bootstrap.yaml, static.yaml and docs.html")
    render.add_argument("--image", type=Path, required=True, help="descriptor image of the contracts")
    render.add_argument("--output", type=Path, required=True, help="folder to write to")
    render.add_argument(
        "--folder", default="/etc/envoy", help="where Envoy finds the static form's files (%(default)s)"
    )
    render.add_argument("--address", default="0.0.0.0", help="address of the static form's listener (%(default)s)")  # noqa: S104  # in a container
    render.add_argument("--port", type=int, default=GatewayConfig().port, help="port of it (%(default)s)")
    arguments = parser.parse_args()
    try:
        contract = read_contract(load_image(arguments.image).file)
    except ContractError as error:
        sys.exit(str(error))
    config = GatewayConfig(address=arguments.address, port=arguments.port)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "bootstrap.yaml": HEAD + BOOTSTRAP + bootstrap(config),
        "static.yaml": HEAD + STATIC + static(contract, config, folder=arguments.folder),
        DOCS_FILE: docs.page(),
    }.items():
        (arguments.output / name).write_text(text)


if __name__ == "__main__":
    main()
