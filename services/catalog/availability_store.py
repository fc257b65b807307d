"""What inventory said, as rows. The transaction is the caller's; times are the database's, one for all replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, DateTime, Float, Text, bindparam, cast, extract, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from services.catalog.tables import knowledge
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from services.catalog.peers import Word
    from weft.data import Database, Transaction

__all__ = ["age_s", "claim", "compare", "finish", "give_up", "hear"]

_NOW: Final = func.clock_timestamp()
# One that knows nothing has no row, or none of the times: greatest() passes by what is NULL.
_AGE_S: Final = prepare(
    select(cast(extract("epoch", _NOW - func.greatest(knowledge.c.compare_time, knowledge.c.event_time)), Float))
)

_HEAR: Final = text(
    """
    WITH heard AS (
        INSERT INTO availability_knowledge AS known (is_only, event_time)
        VALUES (true, least(CAST(:happened AS timestamptz), clock_timestamp()))
        ON CONFLICT (is_only) DO UPDATE SET event_time = greatest(known.event_time, excluded.event_time)
    ), word AS (
        INSERT INTO availability (sku, level, revision, update_time)
        VALUES (:sku, :level, :revision, clock_timestamp())
        ON CONFLICT (sku) DO UPDATE
            SET level = excluded.level, revision = excluded.revision, update_time = excluded.update_time
            WHERE availability.revision < excluded.revision
        RETURNING sku
    )
    SELECT product_id FROM products WHERE sku = :sku AND delete_time IS NULL AND EXISTS (SELECT FROM word)
    """
)

# The collation of a product's SKU is the one its index has.
# What inventory says of a SKU is taken over if it is newer, or if what we know is from before we asked: then inventory
# knew it too, and has gone back behind it because it was restored. What we heard meanwhile may be newer than the page.
_COMPARE: Final = text(
    """
    WITH said AS (
        SELECT * FROM unnest(:skus, :levels, :revisions) AS said (sku, level, revision)
    ), gone AS (
        DELETE FROM availability
        WHERE sku > :after AND (:is_last OR sku <= :upto) AND update_time < :asked
            AND sku NOT IN (SELECT sku FROM said)
        RETURNING sku
    ), taken AS (
        INSERT INTO availability (sku, level, revision, update_time)
        SELECT sku, level, revision, clock_timestamp() FROM said ORDER BY sku COLLATE "C"
        ON CONFLICT (sku) DO UPDATE
            SET level = excluded.level, revision = excluded.revision, update_time = excluded.update_time
            WHERE (availability.level, availability.revision) IS DISTINCT FROM (excluded.level, excluded.revision)
                AND (availability.revision < excluded.revision OR availability.update_time < :asked)
        RETURNING sku
    )
    SELECT product_id FROM products
    WHERE sku IN (SELECT sku COLLATE "default" FROM gone UNION ALL SELECT sku COLLATE "default" FROM taken)
        AND delete_time IS NULL
    """
).bindparams(
    bindparam("skus", type_=ARRAY(Text)),
    bindparam("levels", type_=ARRAY(Text)),
    bindparam("revisions", type_=ARRAY(BigInteger)),
    bindparam("asked", type_=DateTime(timezone=True)),
)

_CLAIM: Final = text(
    """
    INSERT INTO availability_knowledge AS known (is_only, claim_time) VALUES (true, clock_timestamp())
    ON CONFLICT (is_only) DO UPDATE SET claim_time = excluded.claim_time
        WHERE coalesce(known.compare_time < excluded.claim_time - make_interval(secs => :every_s), true)
            AND coalesce(known.claim_time < excluded.claim_time - make_interval(secs => :lease_s), true)
    RETURNING claim_time
    """
).bindparams(bindparam("every_s", type_=Float), bindparam("lease_s", type_=Float))
_FINISH: Final = text(
    "UPDATE availability_knowledge SET claim_time = NULL, compare_time = greatest(compare_time, :asked)"
).bindparams(bindparam("asked", type_=DateTime(timezone=True)))
_GIVE_UP: Final = text("UPDATE availability_knowledge SET claim_time = NULL")


async def age_s(database: Database) -> float | None:
    """Return how old what is known is, in seconds; None where nothing is."""
    row = await database.fetch_one(_AGE_S)
    return None if row is None or row[0] is None else float(row[0])


async def hear(tx: Transaction, word: Word, happened: datetime) -> list[UUID]:
    """Note what an event says; return the products on sale of which it is news."""
    sku, level, revision = word
    values = {"sku": sku, "level": level.value, "revision": revision, "happened": happened}
    return [row.product_id for row in await tx.all(_HEAR, values)]


async def claim(tx: Transaction, *, every_s: float, lease_s: float) -> datetime | None:
    """Set out to compare what is known with what inventory says; return the time of that.

    None where the last comparison is less than *every_s* old, or another is under way that began within *lease_s*.
    """
    claimed: datetime | None = await tx.scalar(_CLAIM, {"every_s": every_s, "lease_s": lease_s})
    return claimed


async def compare(tx: Transaction, words: Sequence[Word], *, after: str, is_last: bool, asked: datetime) -> list[UUID]:
    """Take over a page of what inventory says; return the products on sale of which it is news.

    Args:
        tx: Of the page.
        words: All that inventory knows of SKUs that come after *after*, up to the last of them.
        after: The last SKU of the page before, or empty.
        is_last: Whether no SKU comes after them.
        asked: When the comparison began.
    """
    skus = [sku for sku, _, _ in words]
    values = {
        "skus": skus,
        "levels": [level.value for _, level, _ in words],
        "revisions": [revision for _, _, revision in words],
        "after": after,
        "upto": skus[-1] if skus else after,
        "is_last": is_last,
        "asked": asked,
    }
    return [row.product_id for row in await tx.all(_COMPARE, values)]


async def finish(tx: Transaction, *, asked: datetime) -> None:
    """Note that the comparison that began at *asked* is complete."""
    await tx.execute(_FINISH, {"asked": asked})


async def give_up(tx: Transaction) -> None:
    """Let another replica begin."""
    await tx.execute(_GIVE_UP)
