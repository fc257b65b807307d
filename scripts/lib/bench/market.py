"""What is sold, and to whom: the same on both sides of a comparison."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg2
from psycopg2.extras import execute_values

from scripts.lib.bench.load import SHOPPERS
from scripts.lib.bench.mesh import RunningMesh
from scripts.lib.bench.rest import call
from scripts.lib.bench.rows import add_products
from services.local import ADMIN_EMAIL

__all__ = ["DESTINATION", "Market", "Product"]

PRODUCTS: Final = 100
"""So many that orders seldom wait for each other's stock: one product alone would measure its row's lock."""
STOCK: Final = 1_000_000
DESTINATION: Final[Mapping[str, Any]] = {
    "recipient": "Anna Berg",
    "streetLines": ["Hauptstrasse 1"],
    "postalCode": "10115",
    "city": "Berlin",
    "countryCode": "DE",
}
_PRODUCTS: Final = """
SELECT product_id::text, sku, name, price_units, price_nanos FROM products WHERE sku LIKE 'BENCH-%' ORDER BY product_id
"""


@dataclass(frozen=True, slots=True)
class Product:
    """A product in euros, as the catalog's table has it."""

    product_id: str
    sku: str
    name: str
    price_units: int
    price_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What is sold, and to whom.

    Attributes:
        products: all of them in plenty of stock.
        tokens: user id -> access token of one who may buy.
    """

    products: Sequence[Product]
    tokens: Mapping[str, str]

    @classmethod
    def open(cls, running: RunningMesh, catalog_url: str) -> Market:
        """Fill our shop, whose catalog is the database at *catalog_url*; let shoppers register. Raises BenchFailed."""
        add_products(catalog_url, PRODUCTS)
        with closing(psycopg2.connect(catalog_url)) as connection, connection.cursor() as cursor:
            cursor.execute(_PRODUCTS)
            products = tuple(Product(*row) for row in cursor.fetchall())
        password = (running.state.path / "keys" / "admin-password").read_text().strip()
        credentials = {"email": ADMIN_EMAIL, "password": password}
        admin = call("POST", running.url, "/v1/users:login", credentials)["tokens"]["accessToken"]
        for product in products:
            delivery = {"delta": STOCK, "reason": "for a bench"}
            call("POST", running.url, f"/v1/stock/{product.sku}:adjust", delivery, token=admin, key=product.sku)
        return cls(products=products, tokens=dict(_register(running.url, number) for number in range(SHOPPERS)))

    def copy_to(self, urls: Mapping[str, str]) -> None:
        """Fill the other side's shop; *urls* are service -> URL of its database."""
        rows = [(each.product_id, each.sku, each.name, each.price_units, each.price_nanos) for each in self.products]
        _insert(urls["catalog"], "products (product_id, sku, name, price_units, price_nanos)", rows)
        _insert(urls["inventory"], "stock (sku, on_hand)", [(each.sku, STOCK) for each in self.products])
        _insert(urls["users"], "users (user_id)", [(user_id,) for user_id in self.tokens])

    def order(self, product: Product) -> dict[str, Any]:
        """Return what a shopper sends to have one of *product*."""
        lines = [{"productId": product.product_id, "quantity": 1}]
        return {"lines": lines, "paymentMethod": "pm_test_accepted", "destination": DESTINATION}

    def write(self, files: Path) -> tuple[Path, Path]:
        """Return a file with a token in each line, and one with an order in each line."""
        tokens, orders = files / "tokens", files / "orders"
        tokens.write_text("".join(f"{token}\n" for token in self.tokens.values()))
        orders.write_text("".join(f"{json.dumps(self.order(product))}\n" for product in self.products))
        return tokens, orders


def _register(url: str, number: int) -> tuple[str, str]:
    """Return the id and the access token of a new account."""
    name = {"firstName": "Anna", "lastName": "Berg"}
    account = {"email": f"bench-{number}@example.com", "password": secrets.token_hex(), **name}
    registered = call("POST", url, "/v1/users", account)
    return registered["user"]["userId"], registered["tokens"]["accessToken"]


def _insert(url: str, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        execute_values(cursor, f"INSERT INTO {table} VALUES %s", rows)  # noqa: S608  # the tables are named above
