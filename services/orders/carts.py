"""Carts, from the call's side: what is changed, and what it costs at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.orders import cart_store
from services.orders.cart import KEPT, PricedCart, price
from services.orders.forgetting import forget_carts
from services.orders.pricing import Terms, terms
from services.orders.refusals import CartEmpty, ProductNotFound
from weft.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from services.orders.cart import Cart
    from services.orders.peers import Offers, Shipping
    from services.orders.pricing import Offer
    from weft.data import Database

__all__ = ["Carts", "Quote"]


class Quote(NamedTuple):
    """What a cart would cost."""

    cart: PricedCart
    terms: Terms


class Carts:
    """What shoppers mean to buy.

    The catalog is asked before anything is locked, and again afterwards only for what others put in meanwhile.
    """

    def __init__(self, database: Database, offers: Offers, shipping: Shipping) -> None:
        self._database, self._offers, self._shipping = database, offers, shipping

    async def get(self, user_id: str) -> PricedCart:
        """Return somebody's cart. Raises PeerUnavailable."""
        return await self._priced(await cart_store.get_cart(self._database, user_id))

    async def add(self, user_id: str, product_id: UUID, quantity: int) -> PricedCart:
        """Put *quantity*, at least 1, more units of a product in; return the cart.

        Raises:
            ProductNotFound: there is no such product on sale.
            CartFull: it holds as many as it may.
            PeerUnavailable: it can't be known at the moment.
        """
        return await self._change(user_id, product_id, lambda cart: cart.quantity_of(product_id) + quantity)

    async def put(self, user_id: str, product_id: UUID, quantity: int) -> PricedCart:
        """Have the cart hold *quantity*, at least 1, units of a product; return it. Raises as `add` does."""
        return await self._change(user_id, product_id, lambda _: quantity)

    async def remove(self, user_id: str, product_id: UUID) -> PricedCart:
        """Take a product out, if it is in; return the cart. Raises PeerUnavailable; it may then be out all the same."""
        async with self._database.transaction() as tx:
            cart = await cart_store.lock_cart(tx, user_id)
            if cart.quantity_of(product_id):
                cart = await cart_store.open_cart(tx, user_id)
                await cart_store.save_item(tx, user_id, product_id, 0)
                cart = cart.with_quantity(product_id, 0)
        return await self._priced(cart)

    async def quote(self, user_id: str, country_code: str) -> Quote:
        """Return what somebody's cart would cost if it were sent to a country.

        Raises:
            CartEmpty: nothing that is on sale is in it.
            DestinationNotServed: no carrier goes there.
            CurrenciesDiffer: what it costs has no sum.
            PeerUnavailable: it can't be known at the moment.
        """
        cart = await cart_store.get_cart(self._database, user_id)
        offers = await self._found(cart.product_ids)
        wanted = [item for item in cart.items if item.product_id in offers]
        if not wanted:
            raise CartEmpty
        shipping = await self._shipping.quote(country_code, sum(item.quantity for item in wanted))
        return Quote(price(cart, offers), terms(wanted, offers, shipping, country_code))

    async def forget(self, *, limit: int) -> int:
        """Delete up to *limit* carts of nobody any more, or unchanged for half a year; return how many were."""
        async with self._database.transaction() as tx:
            old = await cart_store.delete_carts(tx, KEPT, limit)
            return old + await forget_carts(tx, limit - old)

    async def _change(self, user_id: str, product_id: UUID, quantity_in: Callable[[Cart], int]) -> PricedCart:
        before = await cart_store.get_cart(self._database, user_id)
        before.with_quantity(product_id, quantity_in(before))  # asks nobody where it is full
        asked = {*before.product_ids, product_id}
        offers = await self._found(asked)
        if product_id not in offers:
            raise ProductNotFound(
                f"no product {product_id} on sale",
                violations=[Violation("productId", "is no product on sale")],
                product_ids=str(product_id),
            )
        async with self._database.transaction() as tx:
            cart = await cart_store.open_cart(tx, user_id)
            quantity = quantity_in(cart)
            cart = cart.with_quantity(product_id, quantity)
            await cart_store.save_item(tx, user_id, product_id, quantity)
        meanwhile = await self._found(set(cart.product_ids) - asked)
        return price(cart, {**offers, **meanwhile})

    async def _priced(self, cart: Cart) -> PricedCart:
        return price(cart, await self._found(cart.product_ids))

    async def _found(self, product_ids: Collection[UUID]) -> dict[UUID, Offer]:
        """Return what is on sale of at most as many products as a cart holds."""
        return await self._offers.find(list(product_ids)) if product_ids else {}
