"""What `weft up` needs to know of the shop: secrets before it starts, and something to sell afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from weft.cli.local import Prepared
from weft.cli.probes import free_ports
from weft.security import SigningKey, create_signing_key, write_jwks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["admin_token", "fill", "mail_folder", "prepare"]

ADMIN_EMAIL: Final = "admin@example.com"
TIMEOUT: Final = aiohttp.ClientTimeout(total=20)
FIRST_DELIVERY: Final = 100
NOT_YET: Final = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
WARM_UP_S: Final = 20.0
RETRY_S: Final = 0.5
"""Units of each product that a new shop has."""


def prepare(state: Path) -> Prepared:
    """Make the signing key and the administrator's password, once; their files are readable by their owner only.

    Money is moved by the simulated provider, a program beside the services as the real one would be. Mails go into a
    folder that mail readers open, unless `NOTIFICATIONS_MAIL_URL` names another place.
    """
    keys = state / "keys"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    signing_key, jwks = keys / "signing.pem", keys / "jwks.json"
    with suppress(FileExistsError):
        create_signing_key(signing_key)
    write_jwks([SigningKey.load(signing_key)], jwks)
    folder_url = mail_folder(state).as_uri().replace("file:", "maildir:", 1)
    (port,) = free_ports(1)
    ledger = state / "provider" / "ledger.db"
    ledger.parent.mkdir(mode=0o700, exist_ok=True)
    return Prepared(
        env={
            "": {"WEFT_JWKS_FILE": str(jwks)},
            "users": {
                "USERS_SIGNING_KEY_FILE": str(signing_key),
                "USERS_ADMIN_EMAIL": ADMIN_EMAIL,
                "USERS_ADMIN_PASSWORD": _admin_password(state),
            },
            "payments": {"PAYMENTS_PROVIDER_URL": f"http://127.0.0.1:{port}"},
            "notifications": {"NOTIFICATIONS_MAIL_URL": folder_url},
        },
        programs={
            "provider": ("services.payments.simulator", "--port", str(port), "--ledger", str(ledger)),
        },
    )


async def fill(state: Path, gateway_url: str) -> Sequence[tuple[str, str]]:
    """Put `PRODUCTS` on sale and in stock through the REST API, those that are not; return rows for the address table.

    Raises:
        aiohttp.ClientError: the shop can't be reached, or refuses for another reason than that a SKU is taken.
    """
    password = _admin_password(state)
    async with aiohttp.ClientSession(gateway_url, timeout=TIMEOUT) as session:
        session.headers["authorization"] = f"Bearer {await admin_token(session, state)}"
        async with asyncio.TaskGroup() as group:
            for product in PRODUCTS:
                group.create_task(_offer_at_last(session, product))
    folder = mail_folder(state)
    return [("admin", f"{ADMIN_EMAIL} / {password}"), *([("mails", str(folder))] if folder.exists() else [])]


def mail_folder(state: Path) -> Path:
    """Return the maildir of everybody's mails, where they go nowhere else."""
    return state.resolve() / "mail"


async def admin_token(session: aiohttp.ClientSession, state: Path) -> str:
    """Return an access token of the administrator that `prepare` has made.

    Raises:
        aiohttp.ClientError: the shop can't be reached, or has another administrator.
    """
    credentials = {"email": ADMIN_EMAIL, "password": _admin_password(state)}
    async with session.post("/v1/users:login", json=credentials, raise_for_status=True) as response:
        token: str = (await response.json())["tokens"]["accessToken"]
    return token


async def _offer_at_last(session: aiohttp.ClientSession, product: Mapping[str, Any]) -> None:
    """Offer *product*, also where a machine that is slow or busy at the start has a service miss its deadline."""
    loop = asyncio.get_running_loop()
    until = loop.time() + WARM_UP_S
    while True:
        try:
            await _offer(session, product)
        except aiohttp.ClientResponseError as error:
            if error.status not in NOT_YET or loop.time() > until:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            return


async def _offer(session: aiohttp.ClientSession, product: Mapping[str, Any]) -> None:
    async with session.post("/v1/products", json={"product": product}) as response:
        if response.status != HTTPStatus.CONFLICT:  # it is on sale, or somebody has taken it off
            response.raise_for_status()
    stock = f"/v1/stock/{product['sku']}"
    async with session.get(stock) as response:
        if response.status != HTTPStatus.NOT_FOUND:  # there was some, whatever is left of it
            response.raise_for_status()
            return
    delivery = {"delta": FIRST_DELIVERY, "reason": "first delivery", "lowStockThreshold": 5}
    headers = {"idempotency-key": f"first-delivery-{product['sku']}"}
    async with session.post(f"{stock}:adjust", json=delivery, headers=headers) as response:
        response.raise_for_status()


def _admin_password(state: Path) -> str:
    """Return the administrator's password, choosing it the first time."""
    path = state / "keys" / "admin-password"
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(15))
    return path.read_text().strip()


def _product(sku: str, name: str, price: str, category: str, tags: str, description: str) -> Mapping[str, Any]:
    units, _, cents = price.partition(".")
    return {
        "sku": sku,
        "name": name,
        "description": description,
        "category": category,
        "price": {"currencyCode": "EUR", "units": units, "nanos": int(cents) * 10_000_000},
        "tags": tags.split(),
    }


PRODUCTS: Final = (
    _product("MUG-BLUE", "Stoneware mug, blue", "14.50", "kitchen", "ceramic coffee",
             "Thrown by hand, 300 ml, dishwasher safe."),
    _product("MUG-SAND", "Stoneware mug, sand", "14.50", "kitchen", "ceramic coffee",
             "Thrown by hand, 300 ml, dishwasher safe."),
    _product("TEAPOT-CAST", "Cast iron teapot", "49.00", "kitchen", "tea iron",
             "Keeps 0.8 litres hot for an hour; with strainer."),
    _product("KNIFE-PARING", "Paring knife", "22.90", "kitchen", "steel cutting",
             "A short blade of carbon steel for small work."),
    _product("BOARD-OAK", "Oak cutting board", "38.00", "kitchen", "wood cutting",
             "End grain, 40 by 25 cm, oiled."),
    _product("BLANKET-WOOL", "Wool blanket", "119.00", "home", "wool warm",
             "Woven from merino wool, 130 by 200 cm."),
    _product("LAMP-DESK", "Desk lamp", "74.95", "home", "light brass",
             "Brass arm and linen shade, for E14 bulbs."),
    _product("CANDLE-BEES", "Beeswax candles, six", "16.80", "home", "light wax",
             "Burn for eight hours each and smell of honey."),
    _product("NOTE-A5", "Notebook A5", "9.90", "paper", "writing",
             "160 dotted pages that lie flat in a sewn binding."),
    _product("PEN-FOUNTAIN", "Fountain pen", "65.00", "paper", "writing steel",
             "Fine steel nib; refillable converter included."),
    _product("BAG-CANVAS", "Canvas bag", "29.00", "travel", "cotton",
             "Carries 18 litres and folds into its own pocket."),
    _product("BOTTLE-STEEL", "Steel bottle", "27.50", "travel", "steel water",
             "Holds 0.7 litres, cold for a day or hot for a night."),
)  # fmt: skip
"""What a new shop sells."""
