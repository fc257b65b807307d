"""Carts as rows. The transaction is the caller's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ARRAY, Integer, Text, Uuid, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.orders.cart import Cart
from services.orders.pricing import Wanted
from services.orders.tables import cart_items, carts
from weft.data import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy import Delete

    from services.orders.events import Line
    from weft.data import Database, Transaction

__all__ = ["delete_carts", "get_cart", "lock_cart", "note_order", "open_cart", "save_item", "take_out"]

_OF_USER: Final = carts.c.user_id == bindparam("of_user", type_=Text)
_ITEM: Final = (
    cart_items.c.user_id == bindparam("of_user", type_=Text),
    cart_items.c.product_id == bindparam("of_product", type_=Uuid),
)

_CART: Final = (
    select(carts.c.order_id, carts.c.update_time, cart_items.c.product_id, cart_items.c.quantity)
    .join_from(carts, cart_items, isouter=True)
    .where(_OF_USER)
    .order_by(cart_items.c.position)
)
_PREPARED_CART: Final = prepare(_CART)
_LOCK: Final = select(carts.c.user_id).where(_OF_USER).with_for_update()
_NEW: Final = upsert(carts).values(user_id=bindparam("of_user"), update_time=func.clock_timestamp())
_OPEN: Final = _NEW.on_conflict_do_update(index_elements=["user_id"], set_={"update_time": func.clock_timestamp()})
_NEW_ITEM: Final = upsert(cart_items).values(
    user_id=bindparam("of_user"), product_id=bindparam("of_product"), quantity=bindparam("new_quantity")
)
_SAVE_ITEM: Final = _NEW_ITEM.on_conflict_do_update(
    index_elements=["user_id", "product_id"], set_={"quantity": _NEW_ITEM.excluded.quantity}
)
_DELETE_ITEM: Final = delete(cart_items).where(*_ITEM)
_NOTE_ORDER: Final = update(carts).where(_OF_USER).values(order_id=bindparam("new_order"))
_CLOSE_ORDER: Final = (
    update(carts)
    .where(_OF_USER, carts.c.order_id == bindparam("of_order", type_=Uuid))
    .values(order_id=None, update_time=func.clock_timestamp())
)
_TAKE_OUT: Final = text(
    """
    WITH bought AS (
        SELECT * FROM unnest(:product_ids, :quantities) AS bought (product_id, quantity)
    ), gone AS (
        DELETE FROM cart_items USING bought
        WHERE user_id = :user_id AND cart_items.product_id = bought.product_id
            AND cart_items.quantity <= bought.quantity
    )
    UPDATE cart_items SET quantity = cart_items.quantity - bought.quantity FROM bought
    WHERE user_id = :user_id AND cart_items.product_id = bought.product_id AND cart_items.quantity > bought.quantity
    """
).bindparams(bindparam("product_ids", type_=ARRAY(Uuid)), bindparam("quantities", type_=ARRAY(Integer)))


async def get_cart(database: Database, user_id: str) -> Cart:
    """Return somebody's cart, which is empty if they never had one."""
    return _cart(await database.fetch_all(_PREPARED_CART, of_user=user_id))


async def lock_cart(tx: Transaction, user_id: str) -> Cart:
    """Return somebody's cart, which nobody else may change until *tx* ends; one that never was isn't locked."""
    # Two statements: one that has waited for the lock would still show the items of before.
    await tx.first(_LOCK, {"of_user": user_id})
    return _cart(await tx.all(_CART, {"of_user": user_id}))


async def open_cart(tx: Transaction, user_id: str) -> Cart:
    """Return somebody's cart, for a change that happens now; made if there is none, and locked as by `lock_cart`."""
    await tx.execute(_OPEN, {"of_user": user_id})
    return _cart(await tx.all(_CART, {"of_user": user_id}))


async def save_item(tx: Transaction, user_id: str, product_id: UUID, quantity: int) -> None:
    """Have a cart that `open_cart` returned hold *quantity* units of a product; 0 takes it out."""
    item = {"of_user": user_id, "of_product": product_id}
    if quantity:
        await tx.execute(_SAVE_ITEM, item | {"new_quantity": quantity})
    else:
        await tx.execute(_DELETE_ITEM, item)


async def note_order(tx: Transaction, user_id: str, order_id: UUID) -> None:
    """Say which order buys what is in a locked cart."""
    await tx.execute(_NOTE_ORDER, {"of_user": user_id, "new_order": order_id})


async def take_out(tx: Transaction, user_id: str, order_id: UUID, bought: Sequence[Line]) -> None:
    """Take out of a cart what an order has *bought* from it, and leave what was put in since.

    Does nothing where the cart is not, or no longer, bought by that order.
    """
    if not await tx.execute(_CLOSE_ORDER, {"of_user": user_id, "of_order": order_id}):
        return
    await tx.execute(
        _TAKE_OUT,
        {
            "user_id": user_id,
            "product_ids": [line.product_id for line in bought],
            "quantities": [line.quantity for line in bought],
        },
    )


async def delete_carts(tx: Transaction, kept: timedelta, limit: int) -> int:
    """Delete up to *limit* carts older than *kept*, skipping those others have locked; return how many."""
    return await tx.execute(_delete_carts(kept, limit))


def _delete_carts(kept: timedelta, limit: int) -> Delete:
    old = select(carts.c.user_id).where(carts.c.update_time < func.now() - kept)
    old = old.order_by(carts.c.update_time).limit(limit).with_for_update(skip_locked=True)
    return delete(carts).where(carts.c.user_id.in_(old))


def _cart(rows: Iterable[Any]) -> Cart:
    """Return the cart of rows that hold one item each, or one row without an item."""
    cart = Cart()
    items = []
    for order_id, update_time, product_id, quantity in rows:
        cart = Cart(order_id=order_id, update_time=update_time)
        if product_id is not None:
            items.append(Wanted(product_id=product_id, quantity=quantity))
    return replace(cart, items=tuple(items))
