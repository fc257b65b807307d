"""The story, as it happens."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp

from services.commands.demo.client import Person, Refused
from services.commands.demo.mails import read_mail
from services.commands.demo.owner import Owner
from services.commands.demo.shopper import Shopper
from services.commands.demo.story import Bought, Returned, Story
from services.local import mail_folder

if TYPE_CHECKING:
    from pathlib import Path

    from services.commands.demo.client import Answer
    from services.commands.demo.stage import Stage

__all__ = ["play"]


async def play(stage: Stage, *, gateway_url: str, state: Path, folder: Path, run: str) -> Story:
    """Shop in the mesh at *gateway_url* that runs from *state*, save the invoice in *folder*, and return what happened.

    Args:
        stage: Shows what is under way.
        gateway_url: `http://127.0.0.1:8080`.
        state: The mesh's directory, which has the administrator's password and the mails.
        folder: Made, for its owner's eyes only, if it isn't there.
        run: What no story on this mesh had before: capital letters and digits.

    Raises:
        Refused, aiohttp.ClientError, OSError: `stage.step` failed.
    """
    # Who calls bounds the whole.
    async with aiohttp.ClientSession(gateway_url, timeout=aiohttp.ClientTimeout(total=None)) as session:
        owner = Owner(Person(session), stage, run)
        shopper = Shopper(Person(session), stage, run)
        today = datetime.now(UTC).date()

        with stage.doing("the owner's log-in", "owner logged in"):
            await owner.log_in(session, state)
            visitors = await owner.conversion(today)
        with stage.doing("the offer", "two products on sale"):
            pot, book = products = await owner.offer()
        with stage.doing("the shopper's account", "shopper registered"):
            account = await shopper.register()
        with stage.doing("the search", "searched and looked"):
            search = await shopper.look_around(products, "moka")
        with stage.doing("the cart", "cart filled"):
            await shopper.fill_cart({pot["productId"]: 2, book["productId"]: 1})
            seen = await shopper.quote()
        with stage.doing("the change of a price", "price changed meanwhile"):
            await owner.reprice(book)
            differences = await _differences(shopper, seen)
        with stage.doing("the order", "order placed"):
            order = await shopper.check_out(await shopper.quote())
        with stage.doing("the delivery", "parcel delivered"):
            order, timeline = await shopper.await_delivery(order["orderId"])
            shipment = await shopper.shipment(order["orderId"])
        with stage.doing("the invoice", "invoice saved"):
            invoice = await shopper.invoice(order["orderId"], "KIND_INVOICE")
            payment = await shopper.payment(order["orderId"])
            printed = await shopper.printed(invoice["invoiceNumber"])
            files = _save(folder, invoice, printed)
        bought = Bought(
            seen=seen["total"],
            differences=differences,
            order=order,
            timeline=timeline,
            payment=payment,
            shipment=shipment,
            invoice=invoice,
            files=files,
        )
        with stage.doing("the second order", "second order called off"):
            returned = await _regret(owner, shopper, pot["productId"])
        with stage.doing("the availability", "availability known"):
            products = [
                await shopper.product(pot["productId"], "AVAILABILITY_LOW"),
                await shopper.product(book["productId"], "AVAILABILITY_OUT"),
            ]
            stock = await owner.stock(products)
        with stage.doing("the mails", "mails sent"):
            notifications = [
                *await owner.told(account["userId"], _expected(order["orderId"], returned.order["orderId"])),
                *await owner.told(owner.user_id, [("stock_low", each["sku"]) for each in products]),
            ]
            mails = [read_mail(mail_folder(state), each["notificationId"]) for each in notifications]
        with stage.doing("the reports", "reports read"):
            reports = await owner.reports(today, [each["sku"] for each in products], beyond=visitors)
        return Story(
            shopper=account,
            products=products,
            search={**search, "recorded": shopper.recorded},
            stock=stock,
            bought=bought,
            returned=returned,
            notifications=notifications,
            mails=[mail for mail in mails if mail],
            mail_folder=str(mail_folder(state)),
            reports=reports,
        )


async def _differences(shopper: Shopper, seen: Answer) -> list[Answer]:
    """Check out at what was *seen* before a price changed; return what the shop says is another now."""
    try:
        await shopper.check_out(seen)
    except Refused as refused:
        if refused.reason != "CART_CHANGED":
            raise
        return [{name: each[name] for name in ("field", "description")} for each in refused.violations]
    raise ValueError("the cart was sold at a price that is no more")


async def _regret(owner: Owner, shopper: Shopper, product_id: str) -> Returned:
    """Buy one of a product and have the money back: call the order off, or ask the owner if it has left already."""
    await shopper.fill_cart({product_id: 1})
    placed = await shopper.check_out(await shopper.quote())
    order = await shopper.call_off(placed["orderId"])
    if order is None:
        order = placed
        await owner.refund(order)
    return Returned(
        order=order,
        credit_note=await shopper.invoice(order["orderId"], "KIND_CREDIT_NOTE"),
        payment=await shopper.payment(order["orderId"]),
    )


def _expected(order_id: str, returned_id: str) -> list[tuple[str, str]]:
    """Return template and subject of what the shopper is told."""
    bought = [(template, order_id) for template in ("order_confirmed", "order_shipped", "order_delivered")]
    return [("welcome", ""), *bought, ("order_confirmed", returned_id), ("refunded", returned_id)]


def _save(folder: Path, invoice: Answer, printed: bytes) -> list[str]:
    """Write an invoice as JSON and as PDF, and return where to."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = {".json": json.dumps(invoice, indent=2, ensure_ascii=False).encode() + b"\n", ".pdf": printed}
    paths = {folder / f"invoice-{invoice['invoiceNumber']}{suffix}": each for suffix, each in content.items()}
    for path, each in paths.items():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
            file.write(each)
    return [str(path) for path in paths]
