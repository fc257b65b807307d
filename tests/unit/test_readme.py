"""What the README says of the shop."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from weft.contract import Access, Method
from weft.contract.read import read_contract

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `(?P<service>[a-z]+)` \|(?P<cells>(?:[^|]*\|){3})$", re.MULTILINE)
ROUTE = re.compile(r"`(?P<verbs>[A-Z ]+) (?P<path>/[^`]+)`")
COLUMNS = ("everybody", "account", "admin")


def test_the_readme_shows_the_whole_api_of_the_shop_and_who_may_use_it() -> None:
    image = FileDescriptorSet.FromString((ROOT / "gen" / "image.binpb").read_bytes())
    served = {
        (service.name, _column(method), rule.verb, re.sub(r"\{[^}]*\}", "{}", rule.template))
        for service in read_contract(image.file).services
        for method in service.methods
        for rule in method.http
    }

    shown = [
        (row["service"], column, verb, re.sub(r"\{[^}]*\}", "{}", route["path"]))
        for row in ROW.finditer((ROOT / "README.md").read_text(encoding="utf-8"))
        for column, cell in zip(COLUMNS, row["cells"].split("|"), strict=False)
        for route in ROUTE.finditer(cell)
        for verb in route["verbs"].split()
    ]

    assert set(shown) == served
    assert len(shown) == len(served)


def _column(method: Method) -> str:
    if "admin" in method.roles:
        return "admin"
    return "everybody" if method.access is Access.PUBLIC else "account"
