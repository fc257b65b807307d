"""What payments says it holds about somebody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shop.payments.v1 import invoices_pb2, payments_pb2_grpc
from shop.payments.v1 import payments_pb2 as pb

from services.exporting import EXPORT_PAGE
from services.payments import store
from services.payments.forgetting import handlers
from tests.mesh.services.calls import Calls, refusal
from tests.mesh.services.forgetting import deleted, exported, hear
from tests.mesh.services.payments.requests import HOME, part, void
from tests.mesh.services.payments.test_payments_invoices import CREDIT_NOTE, INVOICE
from tests.mesh.services.test_statements import filled, plan

if TYPE_CHECKING:
    from tests.mesh.services.payments.parts import Payments


async def export(payments: Payments, user_id: str = "") -> list[Any]:
    users = Calls(
        payments_pb2_grpc.PaymentsServiceStub(payments.server.channel), payments.server.service_token("users")
    )
    request = pb.ExportUserDataRequest(user_id=user_id or payments.user_id)
    return await exported(users, request, pb.Payment, invoices_pb2.Invoice)


async def test_payments_are_exported_and_then_invoices_and_credit_notes_newest_first(payments: Payments) -> None:
    paid, held = await payments.captured(), await payments.authorized()
    await payments.admin.RefundPart(part(paid, "4.50"))
    await payments.orders.VoidPayment(void(str(uuid4())))

    found = await export(payments)

    assert [each.order_id for each in found] == [held, paid, paid, paid]
    assert found[:2] == [await payments.get(held), await payments.get(paid)]
    note, invoice = found[2:]
    assert (note.kind, invoice.kind) == (CREDIT_NOTE, INVOICE)
    assert (note.buyer, invoice.buyer) == (HOME, HOME)


async def test_what_the_law_has_kept_is_exported_of_somebody_forgotten_and_nothing_of_others(
    payments: Payments,
) -> None:
    await payments.captured()
    before = await export(payments)

    await hear(payments.database, handlers(), deleted(payments.user_id))

    assert await export(payments) == before
    assert await export(payments, str(uuid4())) == []


async def test_only_users_may_ask(payments: Payments) -> None:
    for calls in (payments.owner, payments.admin, payments.orders):
        stream = calls.ExportUserData(pb.ExportUserDataRequest(user_id=payments.user_id))
        assert (await refusal(stream.read())).code in {"PERMISSION_DENIED", "UNAUTHENTICATED"}


async def test_thousands_are_exported_in_pages_each_once_and_read_from_their_index(payments: Payments) -> None:
    await payments.captured()
    many_payments = """
        insert into payments
        select gen_random_uuid(), gen_random_uuid(), case when n % 2 = 0 then user_id else 'u' || n % 50 end, currency,
               amount_minor, 0, 'captured', null, null, null, '', null, 0, null, false, null, null,
               create_time - n / 7 * interval '1 minute', update_time
        from payments, generate_series(1, 4000) n
    """
    many_invoices = """
        insert into invoices
        select 2020, row_number() over (), 'invoice', payments.order_id, payments.user_id, issue_time, null, null,
               invoices.currency, total_minor, seller, content
        from payments, invoices where payments.order_id <> invoices.order_id
    """
    await filled(payments.database, many_payments, many_invoices)

    found = await export(payments)

    for kind in (pb.Payment, invoices_pb2.Invoice):
        of_kind = [each for each in found if isinstance(each, kind)]
        assert len(of_kind) == len({each.order_id for each in of_kind}) == 2001 > 10 * EXPORT_PAGE
    times = [each.create_time.ToDatetime(UTC) for each in found[:2001]]
    assert times == sorted(times, reverse=True)
    first = await plan(payments.database, store._FIRST_OF_USER, user_id="u7", limit=EXPORT_PAGE)
    after = {"create_time": datetime.now(UTC), "payment_id": uuid4()}
    later = await plan(payments.database, store._NEXT_OF_USER, user_id="u7", limit=EXPORT_PAGE, **after)
    assert all("payments_by_user" in each for each in (first, later))
