"""What whoever runs the shop does in the story."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from services.commands.demo.story import Reports
from services.local import admin_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    import aiohttp

    from services.commands.demo.client import Answer, Person
    from services.commands.demo.stage import Stage

__all__ = ["PRODUCTS", "Owner"]

PRODUCTS: Final[Sequence[Mapping[str, Any]]] = (
    {
        "sku": "POT",
        "name": "Moka pot for two",
        "description": "Aluminium, for every stove but induction.",
        "category": "kitchen",
        "price": {"currencyCode": "EUR", "units": "34", "nanos": 500_000_000},
        "tags": ["coffee"],
    },
    {
        "sku": "BOOK",
        "name": "The moka book",
        "description": "Where the coffee comes from, and what to do with it.",
        "category": "books",
        "price": {"currencyCode": "EUR", "units": "18", "nanos": 0},
        "tags": ["coffee"],
    },
)
"""A pot and a book, which is taxed at another rate; each run adds its own to the SKUs."""
DELIVERIES: Final = ((7, 5), (1, 0))
"""Of each product, how many come, and how many are few: who buys two pots and the book leaves few pots and no book."""
DEARER: Final = {"currencyCode": "EUR", "units": "19", "nanos": 500_000_000}
"""What the book costs in the end."""


class Owner:
    """Offers what the story is about, and reads how it sold.

    Args:
        person: Who asks; `log_in` gives them a token.
        stage: Shows what is under way.
        run: What tells this story from others on the same mesh: capital letters and digits.
    """

    def __init__(self, person: Person, stage: Stage, run: str) -> None:
        self._person, self._stage, self._run = person, stage, run
        self.user_id = ""
        """Once they have logged in."""

    async def log_in(self, session: aiohttp.ClientSession, state: Path) -> None:
        self._person.token = await admin_token(session, state)
        self.user_id = (await self._person.get("/v1/users/me"))["user"]["userId"]

    async def offer(self) -> list[Answer]:
        """Put `PRODUCTS` on sale and in stock; return them."""
        return [
            await self._offer({**product, "sku": f"DEMO-{self._run}-{product['sku']}"}, units, few)
            for product, (units, few) in zip(PRODUCTS, DELIVERIES, strict=True)
        ]

    async def _offer(self, product: Answer, units: int, few: int) -> Answer:
        sku = product["sku"]
        made = await self._person.post("/v1/products", {"product": product}, key=f"offer-{sku}")
        delivery = {"delta": units, "reason": "a delivery of the demo", "lowStockThreshold": few}
        await self._person.post(f"/v1/stock/{sku}:adjust", delivery, key=f"deliver-{sku}")
        offered: Answer = made["product"]
        return offered

    async def reprice(self, product: Answer) -> None:
        """Make *product* dearer."""
        key = f"reprice-{product['sku']}"
        await self._person.patch(f"/v1/products/{product['productId']}", {"price": DEARER}, key=key)

    async def refund(self, order: Answer) -> None:
        """Give back all that was paid for *order*."""
        key = f"refund-{order['orderId']}"
        await self._person.post(f"/v1/orders/{order['orderId']}/payment:refund", {"amount": order["total"]}, key=key)

    async def stock(self, products: Sequence[Answer]) -> list[Answer]:
        return [(await self._person.get(f"/v1/stock/{each['sku']}"))["stock"] for each in products]

    async def told(self, user_id: str, expected: Sequence[tuple[str, str]]) -> list[Answer]:
        """Wait until a user was told what is *expected*, template and subject of each; return it, oldest first."""

        async def ask() -> list[Answer]:
            answer = await self._person.get("/v1/notifications", userId=user_id, pageSize="200")
            sent = [each for each in answer["notifications"] if each["state"] == "STATE_SENT"]
            return [each for each in reversed(sent) if (each["template"], each["subject"]) in expected]

        def is_all(found: Sequence[Answer]) -> bool:
            return {(each["template"], each["subject"]) for each in found} == set(expected)

        return await self._stage.until(ask, is_all, f"{len(expected)} messages to user {user_id}")

    async def conversion(self, since: date) -> Answer:
        return await self._report("conversion", since)

    async def reports(self, since: date, skus: Sequence[str], *, beyond: Answer) -> Reports:
        """Return the reports once they know of the sale of *skus*, and of more visitors than the ones *beyond*."""

        async def by_product() -> Answer:
            return await self._report("sales", since, groupBy="GROUP_BY_PRODUCT")

        def are_counted(sales: Answer) -> bool:
            return set(skus) <= {line["key"] for line in sales["lines"]}

        def is_beyond(conversion: Answer) -> bool:
            return all(int(conversion[who]) > int(beyond[who]) for who in ("viewers", "carts", "buyers"))

        sales = await self._stage.until(by_product, are_counted, "the report to know of the sale")
        conversion = await self._stage.until(
            lambda: self.conversion(since), is_beyond, "the report to know of the shopper"
        )
        best = await self._report("bestSellers", since, limit="3")
        return Reports(
            from_date=since.isoformat(),
            to_date=_today().isoformat(),
            sales={**sales, "lines": [line for line in sales["lines"] if line["key"] in skus]},
            best_sellers=best["lines"],
            conversion=conversion,
        )

    async def _report(self, name: str, since: date, **query: str) -> Answer:
        days = {"fromDate": since.isoformat(), "toDate": _today().isoformat()}
        return await self._person.get(f"/v1/reports/{name}", **days, **query)


def _today() -> date:
    return datetime.now(UTC).date()
