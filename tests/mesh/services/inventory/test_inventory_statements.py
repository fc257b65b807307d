"""The plans PostgreSQL makes of what runs often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.inventory import store
from services.inventory.__main__ import Config
from services.inventory.domain import KEPT
from tests.mesh.services.test_statements import explained, filled, plan
from weft.config import ConfigError, load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from weft.data import Database

MANY_LEVELS = """
    insert into stock select 'SKU-' || lpad(n::text, 4, '0'), n, 0, 0, 5, now() from generate_series(1, 5000) n
"""
MANY_CHANGES = """
    insert into stock_changes (sku, kind, on_hand_delta, reserved_delta, sold_delta, reason, create_time)
    select 'SKU-' || n % 5, 'adjusted', 1, 0, 0, '', now() from generate_series(1, 5000) n
"""
MANY_RESERVATIONS = """
    insert into reservations
    select gen_random_uuid(), case when n % 100 = 0 then 'reserved' else 'committed' end, '{"MUG": 1}',
           now() - n * interval '1 minute', now(), now()
    from generate_series(1, 5000) n
"""


async def test_pages_are_read_from_their_indexes(empty_database: Callable[[str], Awaitable[Database]]) -> None:
    database = await filled(await empty_database("inventory"), MANY_LEVELS, MANY_CHANGES)

    stock = await plan(database, store._LEVELS, limit=51, after="SKU-2500")
    ledger = await plan(database, store._CHANGES, limit=51, sku="SKU-3", before=4000)

    assert "stock_pkey" in stock
    assert "stock_changes_pkey" in ledger
    assert "Sort" not in stock + ledger


async def test_whether_anything_is_overdue_is_read_from_the_index_of_what_is_reserved(
    empty_database: Callable[[str], Awaitable[Database]],
) -> None:
    database = await filled(await empty_database("inventory"), MANY_RESERVATIONS)

    assert "reservations_by_expire_time" in await plan(database, store._ANY_OVERDUE)


async def test_what_has_ended_is_found_by_its_age(empty_database: Callable[[str], Awaitable[Database]]) -> None:
    database = await filled(await empty_database("inventory"), MANY_RESERVATIONS)

    text = await explained(database, store._delete_ended(KEPT, 50))

    assert "Index Scan using reservations_ended" in text
    assert "Index Cond: (update_time" in text
    assert "Sort" not in text


@pytest.mark.parametrize("seconds", ["0", "-1", "2592001", "nan", "soon"])
def test_how_long_reservations_hold_is_a_setting_within_reason(seconds: str) -> None:
    assert load(Config, {}, "INVENTORY").reservation_s == 900
    assert load(Config, {"INVENTORY_RESERVATION_S": "1.5"}, "INVENTORY").reservation_s == 1.5
    with pytest.raises(ConfigError):
        load(Config, {"INVENTORY_RESERVATION_S": seconds}, "INVENTORY")
