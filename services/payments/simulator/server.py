"""The provider's HTTP API.

    POST /payment_methods                   a card; 201 with a token, 422 with a code
    POST /payments                          hold money: reference, amount, currency, payment_method; 402 when declined
    POST /payments/{reference}/capture      take what is held
    POST /payments/{reference}/void         let it go
    POST /payments/{reference}/refunds      give back: refund, amount
    GET  /payments/{reference}              where the money is; 404 if nobody ever asked for any
    GET  /ledger                            the same for every reference
    GET, PUT /faults                        trouble: delay_s, refuse_ratio, lose_ratio, seed
    GET  /health

Amounts are in the currency's smallest unit. Every POST about payments needs an `Idempotency-Key`; the same key gets the
same answer, 409 while the first is under way or when it was used for something else. Refusals say `{"code": ...}`.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from services.payments.simulator.cards import (
    TOKENS,
    Behaviour,
    CardRefused,
    behaviour_of,
    brand_of,
    check,
    new_token,
)
from services.payments.simulator.faults import Fate, Faults
from services.payments.simulator.ledger import Answer, KeyReused, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["application"]

SLOW_S: Final = 3.0


class _Refused(Exception):  # an answer
    """Nothing was done, and the answer is kept nowhere."""

    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


def application(ledger: Ledger) -> web.Application:
    """Return the server of *ledger*."""
    provider = _Provider(ledger)
    served = web.Application(middlewares=[_refusals])
    served.add_routes(
        [
            web.post("/payment_methods", provider.create_payment_method),
            web.post("/payments", provider.authorise),
            web.post("/payments/{reference}/capture", partial(provider.move, "captured")),
            web.post("/payments/{reference}/void", partial(provider.move, "voided")),
            web.post("/payments/{reference}/refunds", provider.refund),
            web.get("/payments/{reference}", provider.find),
            web.get("/ledger", provider.read_ledger),
            web.get("/faults", provider.read_faults),
            web.put("/faults", provider.set_faults),
            web.get("/health", provider.health),
        ]
    )
    return served


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except _Refused as refused:
        return web.json_response({"code": refused.code}, status=refused.status)
    except (KeyError, TypeError, ValueError):
        return web.json_response({"code": "malformed"}, status=HTTPStatus.BAD_REQUEST)
    return answer


class _Provider:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._faults = Faults()
        self._under_way: set[str] = set()

    async def create_payment_method(self, request: web.Request) -> web.Response:
        fate = await self._fate()
        card = await request.json()
        number = str(card["number"])
        try:
            check(number, card["expiry_month"], card["expiry_year"], today=datetime.now(UTC).date())
        except CardRefused as refused:
            raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, refused.code) from None
        token, brand, last_four = new_token(), brand_of(number), number[-4:]
        self._ledger.add_method(token, behaviour_of(number), brand, last_four)
        body = {"payment_method": token, "brand": brand, "last_four": last_four}
        return _answer(request, Answer(HTTPStatus.CREATED, body), lost=fate is Fate.LOST)

    async def authorise(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        reference, currency = str(wanted["reference"]), str(wanted["currency"])
        amount, token = int(wanted["amount"]), str(wanted["payment_method"])
        behaviour = TOKENS.get(token) or self._ledger.find_behaviour(token)

        def effect(key: str) -> Answer:
            code = "" if behaviour else "payment_method_unknown"
            if behaviour == Behaviour.DECLINED:
                code = "card_declined"
            self._ledger.add_authorisation(key, reference, currency, amount, code)
            if code:
                return Answer(HTTPStatus.PAYMENT_REQUIRED, {"code": code})
            return self._account(reference)

        return await self._once(request, wanted, effect, behaviour=behaviour)

    async def move(self, state: str, request: web.Request) -> web.Response:
        reference = request.match_info["reference"]

        def effect(_key: str) -> Answer:
            if not self._ledger.move(reference, state):
                raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "not_held")
            return self._account(reference)

        return await self._once(request, {}, effect)

    async def refund(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        reference, refund, amount = request.match_info["reference"], str(wanted["refund"]), int(wanted["amount"])

        def effect(key: str) -> Answer:
            if not self._ledger.add_refund(refund, reference, amount, key):
                raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "too_large")
            return self._account(reference)

        return await self._once(request, wanted, effect)

    async def find(self, request: web.Request) -> web.Response:
        fate = await self._fate()
        account = self._ledger.account(request.match_info["reference"])
        if account is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "unknown_reference")
        return _answer(request, Answer(HTTPStatus.OK, account), lost=fate is Fate.LOST)

    async def read_ledger(self, request: web.Request) -> web.Response:
        return web.json_response(self._ledger.accounts())

    async def read_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._faults.as_json())

    async def set_faults(self, request: web.Request) -> web.Response:
        self._faults = Faults.parse(await request.json())
        return web.json_response(self._faults.as_json())

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _fate(self) -> Fate:
        """Wait as long as is to be waited. Raises _Refused."""
        faults = self._faults
        fate = faults.draw()
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if fate is Fate.REFUSED:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable")
        return fate

    async def _once(
        self,
        request: web.Request,
        wanted: Mapping[str, object],
        effect: Callable[[str], Answer],
        *,
        behaviour: str | None = None,
    ) -> web.Response:
        """Do *effect* for the request's idempotency key, unless it is done; it and its answer are one transaction."""
        key = request.headers["Idempotency-Key"]
        said = json.dumps([request.path, wanted], sort_keys=True)
        fingerprint = sha256(said.encode()).hexdigest()
        if key in self._under_way:
            raise _Refused(HTTPStatus.CONFLICT, "key_in_use")
        self._under_way.add(key)
        try:
            try:
                answer = self._ledger.find_answer(key, fingerprint)
            except KeyReused:
                raise _Refused(HTTPStatus.CONFLICT, "key_reused") from None
            fate = await self._fate()
            lost = fate is Fate.LOST
            if answer is None:
                if behaviour == Behaviour.DOWN:
                    raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable")
                if behaviour == Behaviour.SLOW:
                    await asyncio.sleep(SLOW_S)
                lost = lost or behaviour == Behaviour.ANSWER_LOST
                with self._ledger.transaction():
                    answer = effect(key)
                    self._ledger.keep_answer(key, fingerprint, answer)
        finally:
            self._under_way.discard(key)
        return _answer(request, answer, lost=lost)

    def _account(self, reference: str) -> Answer:
        account = self._ledger.account(reference)
        assert account
        return Answer(HTTPStatus.OK, account)


def _answer(request: web.Request, answer: Answer, *, lost: bool) -> web.Response:
    if lost and request.transport:
        request.transport.abort()
    return web.json_response(answer.body, status=answer.status)
