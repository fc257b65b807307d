"""Stands in for Stripe: the few calls that payments make, behaving as Stripe documents them.

Forms in, JSON out; errors in Stripe's shape; an idempotency key gets the first answer again, errors of the server
included, 409 while it is in use and 400 when it comes with other parameters. It can lose answers and fail.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

API_KEY = "sk_test_" + "k" * 24
WEBHOOK_SECRET = "whsec_" + "w" * 32
TOKENS = {"pm_card_visa": None, "pm_card_chargeDeclined": "generic_decline", "pm_card_authenticationRequired": None}


class StripeError(Exception):
    def __init__(self, status: int, kind: str, code: str = "", **fields: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": {"type": kind, "code": code, "message": "…", **fields}}


@dataclass
class StripeStandIn:
    url: str = ""
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    charges: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    """Effects on money: how often each was had."""
    lose: set[str] = field(default_factory=set)
    """Last parts of paths whose answers are lost, the effect had."""
    fail: dict[str, int] = field(default_factory=dict)
    """Last part of a path -> status it is answered with, without any effect."""
    answers: dict[str, tuple[str, int, Any]] = field(default_factory=dict)
    in_use: set[str] = field(default_factory=set)
    before: Callable[[str], Awaitable[None]] | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[StripeStandIn]:
        stand_in = cls()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", stand_in.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield stand_in
        finally:
            await runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post()) | dict(request.query)
        parameters = {name: str(value) for name, value in form.items()}
        parts = request.path.strip("/").split("/")
        last = parts[-1] if not parts[-1].startswith("pi_") else "retrieve"
        self.requests.append((request.method, request.path, parameters))
        if self.before:
            await self.before(last)
        try:
            status, body = await self._once(request, parts, parameters, last)
        except StripeError as error:
            status, body = error.status, error.body
        if last in self.lose and request.transport:
            request.transport.abort()
        return web.json_response(body, status=status, headers={"Request-Id": f"req_{uuid4().hex[:14]}"})

    async def _once(
        self, request: web.Request, parts: list[str], parameters: Mapping[str, str], last: str
    ) -> tuple[int, Any]:
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            raise StripeError(401, "invalid_request_error")
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        said = json.dumps([request.path, sorted(parameters.items())])
        if key is None:
            return 200, self._served(request.method, parts, parameters, last)
        if key in self.in_use:
            raise StripeError(409, "idempotency_error", "idempotency_key_in_use")
        if key in self.answers:
            first, status, body = self.answers[key]
            if first != said:
                raise StripeError(400, "idempotency_error")
            return status, body
        self.in_use.add(key)
        try:
            await asyncio.sleep(0)
            try:
                status, body = 200, self._served(request.method, parts, parameters, last)
            except StripeError as error:
                status, body = error.status, error.body
            if status not in (401, 409, 429):
                self.answers[key] = (said, status, json.loads(json.dumps(body)))
        finally:
            self.in_use.discard(key)
        return status, body

    def _served(  # noqa: PLR0911  # one answer for each call
        self, method: str, parts: list[str], parameters: Mapping[str, str], last: str
    ) -> Any:
        if last in self.fail:
            raise StripeError(self.fail[last], "rate_limit_error" if self.fail[last] == 429 else "api_error")
        match [method, *parts]:
            case ["POST", "v1", "payment_methods"]:
                digits = (int(digit) for digit in reversed(parameters["card[number]"]))
                doubled = [digit * (1 + index % 2) for index, digit in enumerate(digits)]
                if sum(digit // 10 + digit % 10 for digit in doubled) % 10:
                    raise StripeError(402, "card_error", "incorrect_number")
                return {"id": f"pm_{uuid4().hex}", "object": "payment_method", "type": "card"}
            case ["POST", "v1", "payment_intents"]:
                return self._create(parameters)
            case ["GET", "v1", "payment_intents", name]:
                intent = self._intent(name)
                return intent | {"latest_charge": self.charges.get(intent["latest_charge"])}
            case ["POST", "v1", "payment_intents", name, "confirm"]:
                return self._confirm(self._intent(name), parameters)
            case ["POST", "v1", "payment_intents", name, "capture"]:
                return self._move(self._intent(name), "requires_capture", "succeeded")
            case ["POST", "v1", "payment_intents", name, "cancel"]:
                return self._move(self._intent(name), "", "canceled")
            case ["POST", "v1", "refunds"]:
                return self._refund(parameters)
            case ["GET", "v1", "refunds"]:
                refunds = [one for one in self.refunds if one["payment_intent"] == parameters["payment_intent"]]
                return {"object": "list", "url": "/v1/refunds", "has_more": False, "data": refunds}
        raise StripeError(404, "invalid_request_error", "resource_missing")

    def _intent(self, name: str) -> dict[str, Any]:
        if name not in self.intents:
            raise StripeError(404, "invalid_request_error", "resource_missing", param="intent")
        return self.intents[name]

    def _create(self, parameters: Mapping[str, str]) -> Any:
        if any(name.startswith("payment_method_types") for name in parameters):
            raise StripeError(400, "invalid_request_error", "payment_method_types_no_longer_supported")
        if int(parameters["amount"]) < 50:
            raise StripeError(400, "invalid_request_error", "amount_too_small", param="amount")
        intent = {
            "id": f"pi_{uuid4().hex[:24]}",
            "object": "payment_intent",
            "amount": int(parameters["amount"]),
            "currency": parameters["currency"],
            "capture_method": parameters["capture_method"],
            "metadata": {"order_id": parameters["metadata[order_id]"]},
            "status": "requires_payment_method",
            "last_payment_error": None,
            "latest_charge": None,
        }
        self.intents[str(intent["id"])] = intent
        return intent

    def _confirm(self, intent: dict[str, Any], parameters: Mapping[str, str]) -> Any:
        method = parameters["payment_method"]
        if method not in TOKENS:
            raise StripeError(400, "invalid_request_error", "resource_missing", param="payment_method")
        if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
            raise StripeError(400, "invalid_request_error", "payment_intent_unexpected_state")
        decline = TOKENS[method]
        if method == "pm_card_authenticationRequired":
            assert parameters["error_on_requires_action"] == "true"
            decline = "authentication_required"
        if decline:
            failure = {"type": "card_error", "code": "card_declined", "decline_code": decline, "message": "…"}
            intent["last_payment_error"] = failure
            raise StripeError(402, "card_error", "card_declined", decline_code=decline, payment_intent=intent)
        charge = {"id": f"ch_{uuid4().hex[:24]}", "object": "charge", "amount": intent["amount"], "amount_refunded": 0}
        self.charges[charge["id"]] = charge
        self.done["confirm"] += 1
        intent |= {"status": "requires_capture", "latest_charge": charge["id"]}
        return intent

    def _move(self, intent: dict[str, Any], only_from: str, status: str) -> Any:
        allowed = [only_from] if only_from else ["requires_payment_method", "requires_confirmation", "requires_capture"]
        if intent["status"] not in allowed:
            raise StripeError(400, "invalid_request_error", "payment_intent_unexpected_state")
        self.done[status] += 1
        intent["status"] = status
        return intent

    def _refund(self, parameters: Mapping[str, str]) -> Any:
        intent = self._intent(parameters["payment_intent"])
        charge, amount = self.charges[intent["latest_charge"]], int(parameters["amount"])
        if charge["amount_refunded"] + amount > charge["amount"]:
            raise StripeError(400, "invalid_request_error", "charge_already_refunded")
        charge["amount_refunded"] += amount
        self.done["refund"] += 1
        refund = {
            "id": f"re_{uuid4().hex[:24]}",
            "object": "refund",
            "amount": amount,
            "charge": charge["id"],
            "payment_intent": intent["id"],
            "status": "succeeded",
            "metadata": {"refund_id": parameters["metadata[refund_id]"]} if "metadata[refund_id]" in parameters else {},
        }
        self.refunds.append(refund)
        return refund | {"charge": charge}


def webhook(about: Mapping[str, Any], *, secret: str = WEBHOOK_SECRET, age_s: float = 0) -> tuple[bytes, str]:
    """Return the body and the signature of a webhook.

    Source: https://docs.stripe.com/webhooks#verify-manually
    """
    event = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": {"object": about}}
    body = json.dumps(event, indent=2).encode()
    now = int(time.time() - age_s)
    signature = hmac.new(secret.encode(), b"%d." % now + body, sha256).hexdigest()
    return body, f"t={now},v1={signature}"
