"""Arrows point one way: the mesh knows no service, and services know each other by their contracts only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))
LAYERS = ("domain", "tables", "store", "peers", "servicer", "__main__")
"""Of a service, lowest first: a module imports from lower ones only."""

MAY_IMPORT = {
    "contract": set(),
    "registry": set(),
    "security": {"errors"},
    "telemetry": set(),
    "data": {"errors"},
    "events": {"call", "contract", "data", "errors", "telemetry"},
    "saga": {"call", "data", "errors", "telemetry"},
    "client": {"call", "contract", "errors", "security", "telemetry"},
    "server": {"call", "client", "config", "contract", "data", "errors", "events", "registry", "security", "telemetry"},
    "gateway": {"contract", "registry", "security"},
    "control": {"config", "contract", "gateway", "registry", "telemetry"},
}
"""Package of weft -> what else of weft it may import. `cli`, which starts all of it, may import all of it."""

SHOP_WORDS = re.compile(r"\b(shop|shopper|product|cart|invoice|e-?commerce|customer|shipment)s?\b", re.IGNORECASE)


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything *path* imports, `weft.errors.NotFound`."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules("weft"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_mesh_imports_no_service_and_no_contract_but_its_own(path: Path) -> None:
    assert [name for name in imports(path) if name.split(".")[0] in ("services", "shop", "tests")] == []


@pytest.mark.parametrize("path", modules("weft"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_mesh_does_not_speak_of_the_shop(path: Path) -> None:
    names = re.compile(rf"\b({'|'.join(SERVICES)})\.v1\b|xds:///({'|'.join(SERVICES)})\b")
    text = path.read_text()

    assert SHOP_WORDS.findall(text) == []
    assert names.findall(text) == []


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_of_the_mesh_imports_only_those_below_it(package: str) -> None:
    found = {
        name.split(".")[1]
        for path in modules(f"weft/{package}")
        for name in imports(path)
        if name.startswith("weft.") and name.split(".")[1] != package
    }

    assert found <= MAY_IMPORT[package]


def test_there_are_services_to_judge() -> None:
    assert {"users", "catalog", "orders"} <= set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_knows_others_by_their_stubs_only(service: str) -> None:
    others = tuple(f"services.{other}." for other in SERVICES if other != service)
    for path in modules(f"services/{service}"):
        assert [name for name in imports(path) if f"{name}.".startswith(others)] == [], path


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_modules_import_from_lower_layers_only(service: str) -> None:
    for path in modules(f"services/{service}"):
        if path.stem not in LAYERS or path.parent.name != service:
            continue
        above = LAYERS[LAYERS.index(path.stem) + 1 :]
        wrong = [
            name for name in imports(path) if name.startswith(tuple(f"services.{service}.{layer}" for layer in above))
        ]
        assert wrong == [], path


@pytest.mark.parametrize("service", SERVICES)
def test_a_domain_knows_neither_grpc_nor_sql(service: str) -> None:
    path = ROOT / "services" / service / "domain.py"
    forbidden = (
        "grpc",
        "google",
        "sqlalchemy",
        "asyncpg",
        "shop",
        "aiohttp",
        "weft.data",
        "weft.server",
        "weft.client",
    )

    assert [name for name in imports(path) if name.startswith(forbidden)] == []


def test_only_composition_roots_read_the_environment() -> None:
    roots = {"__main__.py", "process.py", "app.py"}
    readers = {
        path.relative_to(ROOT)
        for folder in ("weft", "services")
        for path in modules(folder)
        if "os.environ" in path.read_text() and path.name not in roots and "cli" not in path.parts
    }

    # gRPC takes its bootstrap from the environment only, so the client has to write it there.
    assert readers == {Path("weft/client/peers.py")}
