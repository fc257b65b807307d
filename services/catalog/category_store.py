"""Categories as rows. The transaction is the caller's.

A product's transaction holds its category's row until it ends, so that nobody removes the category meanwhile. Who moves
or removes categories does so alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, any_, bindparam, delete, exists, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.catalog.categories import Category, Tree, name_of
from services.catalog.tables import categories, category_tree, products
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from weft.data import Database, Transaction

__all__ = ["add_roots", "is_empty", "load_tree", "lock_category", "lock_tree", "remove", "save"]

_TREE_LOCK: Final = 16_715_983
"""Of `pg_advisory_xact_lock`; nobody else in this database uses it."""
_CATEGORY: Final = (categories.c.slug, categories.c.name, categories.c.parent)
_ALL: Final = prepare(select(*_CATEGORY))

_KEEP: Final = text("SELECT slug FROM categories WHERE slug = ANY(:slugs) ORDER BY slug FOR KEY SHARE").bindparams(
    bindparam("slugs", type_=ARRAY(Text))
)


async def load_tree(database: Database) -> Tree:
    return _tree(await database.fetch_all(_ALL))


async def lock_tree(tx: Transaction) -> Tree:
    """Return the tree, in which nobody else moves or removes a category until the transaction ends."""
    await tx.execute(select(func.pg_advisory_xact_lock(_TREE_LOCK)))
    return _tree(await tx.all(select(*_CATEGORY)))


async def add_roots(tx: Transaction, slugs: Collection[str]) -> bool:
    """See to it that there is a category for each of *slugs* until the transaction ends; tell whether any is new."""
    missing = set(slugs)
    is_new = False
    while missing:
        missing -= {row.slug for row in await tx.all(_KEEP, {"slugs": sorted(missing)})}
        if missing:
            rows = [{"slug": slug, "name": name_of(slug)} for slug in sorted(missing)]
            # Waits for who is adding one of them at this moment, or removing it; then it is looked for again.
            added = await tx.all(
                insert(categories)
                .values(rows)
                .on_conflict_do_nothing(index_elements=[categories.c.slug])
                .returning(categories.c.slug)
            )
            found = [row.slug for row in added]
            if found:
                await tx.execute(insert(category_tree).values([{"ancestor": each, "slug": each} for each in found]))
                is_new = True
            missing -= set(found)
    return is_new


async def save(tx: Transaction, tree: Tree, slug: str) -> None:
    """Write a category of *tree*, and where it and all below it now are. The tree is locked."""
    category = tree.categories[slug]
    values = {"name": category.name, "parent": category.parent}
    await tx.execute(
        insert(categories)
        .values(slug=slug, **values)
        .on_conflict_do_update(index_elements=[categories.c.slug], set_=values)
    )
    moved = tree.below(slug)
    await tx.execute(delete(category_tree).where(category_tree.c.slug == any_(literal(moved, ARRAY(Text)))))
    rows = [{"ancestor": ancestor, "slug": each} for each in moved for ancestor in tree.ancestors(each)]
    await tx.execute(insert(category_tree).values(rows))


async def lock_category(tx: Transaction, slug: str) -> bool:
    """Wait for the transactions of the category's products, and hold up others; tell whether there is one."""
    return await tx.scalar(select(categories.c.slug).where(categories.c.slug == slug).with_for_update()) is not None


async def is_empty(tx: Transaction, slug: str) -> bool:
    """Tell whether a category has neither children nor products on sale. It is locked."""
    children = exists().where(categories.c.parent == slug)
    on_sale = exists().where(products.c.category == slug, products.c.delete_time.is_(None))
    return not await tx.scalar(select(children | on_sale))


async def remove(tx: Transaction, slug: str) -> None:
    """Remove a category that is locked and empty."""
    await tx.execute(delete(category_tree).where(category_tree.c.slug == slug))
    await tx.execute(delete(categories).where(categories.c.slug == slug))


def _tree(rows: Iterable[Iterable[Any]]) -> Tree:
    return Tree.of(Category(slug=slug, name=name, parent=parent) for slug, name, parent in rows)
