"""Products to read, straight into catalog's table: twenty thousand of them through the API would take minutes."""

from __future__ import annotations

from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

__all__ = ["FIRST_ID", "add_products", "grant_reader"]

FIRST_ID: Final = "00000000-0000-4000-8000-000000000000"

# Times have milliseconds and no more, which is what a JavaScript Date can hold.
_INSERT: Final = """
INSERT INTO products (product_id, sku, name, sort_name, description, category, price_currency, price_units, price_nanos,
                      images, tags, create_time, update_time)
SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'BENCH-' || n, 'Mug ' || n, 'mug ' || n,
       'Stoneware, glazed by hand, 350 ml. Dishwasher safe, and no two are alike.', 'kitchen', 'EUR', 10 + n %% 90,
       500000000, ARRAY[ARRAY['https://img.example.com/mug.jpg', 'A blue mug']], ARRAY['mug', 'blue', 'handmade'],
       '2026-01-02T03:04:05.678Z', '2026-01-02T03:04:05.678Z'
FROM generate_series(0, %s - 1) AS n
"""


def add_products(url: str, count: int) -> None:
    """Put products with the ids …000 to …(*count* - 1) into the database at *url*."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_INSERT, (count,))
        cursor.execute("ANALYZE products")


def grant_reader(url: str, role: str, password: str) -> str:
    """Make a role that may read products and nothing else; return *url* as that role."""
    parts = urlsplit(url)
    database = parts.path.lstrip("/")
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        name = sql.Identifier(role)
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(password)))
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), name))
        cursor.execute(sql.SQL("GRANT SELECT ON products TO {}").format(name))
    return f"postgresql://{role}:{password}@{parts.hostname}:{parts.port}/{database}"
