"""Payments at work for tests: the service, its database, and the simulated provider as a process that can be killed."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

import aiohttp
from shop.payments.v1 import payments_pb2 as pb
from shop.payments.v1 import payments_pb2_grpc
from sqlalchemy import text

from services.payments.cashier import Cashier
from services.payments.printing import Printer
from services.payments.servicer import PaymentsServicer, Webhooks
from services.payments.simulated import SimulatedProvider
from tests.mesh.services.calls import KEY, Calls, euros
from tests.mesh.services.payments.requests import capture
from weft.events import Outbox
from weft.testing import TestServer, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from services.payments.domain import Found, Refund
    from services.payments.money import Money
    from services.payments.provider import Card, Provider
    from weft.data import Database
    from weft.telemetry import Tracing

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[4]
NAME = "shop.payments.v1.PaymentsService"
MARGIN_S = 0.3
"""Of claims: a test does not want to wait for long until one has expired."""


SELLER = ("Weft Shop Ltd", "1 Loom Street, Manchester")


class Simulator:
    """The provider, a process of its own, on a port that stays the same when it is started again."""

    def __init__(self, ledger: Path) -> None:
        self.ledger_file = ledger
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it unless it runs."""
        if self._process:
            return
        arguments = ("services.payments.simulator", "--port", str(self.port), "--ledger", str(self.ledger_file))
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline().rsplit(":", 1)[1])

    def kill(self) -> None:
        """Kill -9 it."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.communicate()

    async def faults(self, **faults: float) -> None:
        async with aiohttp.ClientSession() as session, session.put(f"{self.url}/faults", json=faults) as response:
            response.raise_for_status()

    async def account(self, order_id: str) -> dict[str, Any]:
        """Return what the provider's ledger says of an order, nothing where it never heard of it."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/ledger") as response:
            return dict((await response.json()).get(order_id, {}))

    async def money(self, order_id: str) -> tuple[int, int, int, int]:
        """Return the cents authorised, captured, voided and refunded for an order."""
        account = await self.account(order_id)
        return (
            account.get("authorised", 0),
            account.get("captured", 0),
            account.get("voided", 0),
            account.get("refunded", 0),
        )


@dataclass(frozen=True, kw_only=True)
class Payments:
    """One replica of the payments service at work."""

    server: TestServer
    database: Database
    cashier: Cashier
    provider: Provider
    user_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def orders(self) -> Calls:
        """Calls as the orders service makes them."""
        return Calls(self._stub, self.server.service_token("orders"))

    @property
    def owner(self) -> Calls:
        return Calls(self._stub, self.server.token(self.user_id))

    @property
    def admin(self) -> Calls:
        return Calls(self._stub, self.server.token("root", ("user", "admin")))

    @property
    def _stub(self) -> payments_pb2_grpc.PaymentsServiceStub:
        return payments_pb2_grpc.PaymentsServiceStub(self.server.channel)

    def request(self, order_id: str, method: str = "pm_test_accepted", amount: str = "14.50") -> Any:
        return pb.AuthorizePaymentRequest(
            order_id=order_id, user_id=self.user_id, amount=euros(amount), payment_method=method
        )

    async def authorized(self, amount: str = "14.50") -> str:
        """Have an order's money held; return the order's id."""
        order_id = str(uuid4())
        await self.orders.AuthorizePayment(self.request(order_id, amount=amount))
        return order_id

    async def captured(self, amount: str = "14.50") -> str:
        """Have an order's money taken; return the order's id."""
        order_id = await self.authorized(amount)
        await self.orders.CapturePayment(capture(order_id, amount))
        return order_id

    async def get(self, order_id: str) -> Any:
        return (await self.admin.GetPayment(pb.GetPaymentRequest(order_id=order_id))).payment

    async def state(self, order_id: str) -> str:
        return pb.Payment.State.Name((await self.get(order_id)).state).removeprefix("STATE_")

    async def row(self, order_id: str) -> Any:
        async with self.database.transaction() as tx:
            return await tx.one(
                text("select * from payments where order_id = cast(:id as uuid)").bindparams(id=order_id)
            )

    async def events(self, order_id: str) -> list[str]:
        """Return the names of the events published about an order, in order."""
        async with self.database.transaction() as tx:
            rows = await tx.all(
                text("select type from outbox where subject = :id order by sequence").bindparams(id=order_id)
            )
        return [name.rsplit(".", 1)[1] for (name,) in rows]

    async def make_due(self) -> None:
        """Let the time pass until the settling loop asks about everything that it is to ask about."""
        async with self.database.transaction() as tx:
            await tx.execute(
                text("update payments set due_time = now(), claim_expire_time = now() where due_time is not null")
            )

    async def settle(self) -> None:
        """Have all that is due settled, as far as it can be."""
        await self.make_due()
        await self.cashier.settle_due()


@asynccontextmanager
async def replica(
    database: Database,
    provider: Provider,
    *,
    webhooks: Webhooks | None = None,
    tracing: Tracing | None = None,
    user_id: str | None = None,
) -> AsyncIterator[Payments]:
    """Serve payments with *provider*. Nothing settles by itself: tests say when."""
    cashier = Cashier(database, provider, Outbox("payments"), seller=SELLER, margin_s=MARGIN_S)
    with Printer() as printer:
        servicer = PaymentsServicer(database, cashier, printer, webhooks=webhooks)
        async with serving({NAME: servicer}, database=database, key=KEY, tracing=tracing) as server:
            yield Payments(
                server=server,
                database=database,
                cashier=cashier,
                provider=provider,
                user_id=user_id or str(uuid4()),
            )
            await cashier.finish()


@asynccontextmanager
async def simulated_replica(database: Database, simulator: Simulator) -> AsyncIterator[Payments]:
    async with SimulatedProvider.open(simulator.url) as provider, replica(database, provider) as payments:
        yield payments


class Tap:
    """A provider between the service and the real one, where tests listen and meddle."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.calls: list[str] = []
        self.keys: list[tuple[str, str]] = []
        """Call and idempotency key of each that has one."""
        self.before: Callable[[str], Awaitable[None]] | None = None
        """Awaited before each call goes out, with its name."""
        self.after: Callable[[str], Awaitable[None]] | None = None
        """Awaited after each call has been answered, with its name."""

    def reference_for(self, order_id: UUID) -> str | None:
        return self._provider.reference_for(order_id)

    async def create_payment_method(self, card: Card) -> str:
        return await self._provider.create_payment_method(card)

    async def prepare(self, key: str, order_id: UUID, amount: Money) -> str:
        self.keys.append(("prepare", key))
        return await self._around("prepare", self._provider.prepare(key, order_id, amount))

    async def authorize(self, key: str, reference: str, amount: Money, payment_method: str) -> Found:
        self.keys.append(("authorize", key))
        return await self._around("authorize", self._provider.authorize(key, reference, amount, payment_method))

    async def capture(self, key: str, reference: str, amount: Money) -> Found:
        self.keys.append(("capture", key))
        return await self._around("capture", self._provider.capture(key, reference, amount))

    async def void(self, key: str, reference: str) -> Found:
        self.keys.append(("void", key))
        return await self._around("void", self._provider.void(key, reference))

    async def refund(self, key: str, reference: str, refund: Refund) -> Found:
        self.keys.append(("refund", key))
        return await self._around("refund", self._provider.refund(key, reference, refund))

    async def find(self, reference: str) -> Found:
        return await self._around("find", self._provider.find(reference))

    async def _around(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        self.calls.append(name)
        with closing(call):
            if self.before:
                await self.before(name)
            answer = await call
        if self.after:
            await self.after(name)
        return answer
