"""What shipping says it holds about somebody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shop.shipping.v1 import shipping_pb2 as pb
from shop.shipping.v1 import shipping_pb2_grpc
from sqlalchemy import text

from services.exporting import EXPORT_PAGE
from services.shipping import store
from services.shipping.forgetting import handlers
from tests.mesh.services.calls import Calls, refusal
from tests.mesh.services.forgetting import deleted, exported, hear
from tests.mesh.services.shipping.parts import address
from tests.mesh.services.test_statements import filled, plan

if TYPE_CHECKING:
    from tests.mesh.services.shipping.parts import Shipping


async def export(shipping: Shipping, user_id: str = "") -> list[Any]:
    users = Calls(
        shipping_pb2_grpc.ShippingServiceStub(shipping.server.channel), shipping.server.service_token("users")
    )
    return await exported(users, pb.ExportUserDataRequest(user_id=user_id or shipping.user_id), pb.Shipment)


async def test_every_parcel_is_exported_with_its_address_newest_first(shipping: Shipping) -> None:
    older, newer = [await shipping.scheduled() for _ in range(2)]
    await shipping.report(older.tracking_number, "IN_TRANSIT")
    await shipping.schedule(str(uuid4()), user_id=str(uuid4()))

    found = await export(shipping)

    assert [each.order_id for each in found] == [newer.order_id, older.order_id]
    assert [each.destination for each in found] == [address()] * 2
    assert [pb.Shipment.State.Name(each.state) for each in found] == ["STATE_CREATED", "STATE_IN_TRANSIT"]


async def test_the_letters_of_an_id_may_be_large_ones(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()

    assert [each.order_id for each in await export(shipping, shipping.user_id.upper())] == [shipment.order_id]


async def test_nothing_is_exported_of_somebody_unknown_and_no_address_of_somebody_forgotten(shipping: Shipping) -> None:
    shipment = await shipping.scheduled()
    await shipping.cancel(shipment.order_id)
    await hear(shipping.database, handlers(), deleted(shipping.user_id))

    assert await export(shipping, str(uuid4())) == []
    assert [each.destination for each in await export(shipping)] == [pb.Address(country_code="GB")]


async def test_only_users_may_ask(shipping: Shipping) -> None:
    for calls in (shipping.owner, shipping.admin, shipping.orders, shipping.anybody):
        stream = calls.ExportUserData(pb.ExportUserDataRequest(user_id=shipping.user_id))
        assert (await refusal(stream.read())).code in {"PERMISSION_DENIED", "UNAUTHENTICATED"}


async def test_thousands_are_exported_in_pages_each_once_and_read_from_their_index(shipping: Shipping) -> None:
    many = f"""
        insert into shipments
        select gen_random_uuid(), gen_random_uuid(), 'delivered', now(),
               case when n % 2 = 0 then '{shipping.user_id}' else 'u' || n % 50 end, 'SIM' || n, 'EUR', 4, 0, 'Ada',
               '{{Square}}', '', 'London', 'GB', now() - n / 7 * interval '1 minute'
        from generate_series(1, 5000) n
    """
    await filled(shipping.database, many)

    found = await export(shipping)

    assert len(found) == len({each.shipment_id for each in found}) == 2500 > 10 * EXPORT_PAGE
    times = [each.create_time.ToDatetime(UTC) for each in found]
    assert times == sorted(times, reverse=True)
    first = await plan(shipping.database, store._FIRST_OF_USER, user_id="u7", limit=EXPORT_PAGE)
    after = {"create_time": datetime.now(UTC), "shipment_id": uuid4()}
    later = await plan(shipping.database, store._NEXT_OF_USER, user_id="u7", limit=EXPORT_PAGE, **after)
    assert all("shipments_by_user" in each for each in (first, later))
    async with shipping.database.transaction() as tx:
        assert await tx.scalar(text("select count(*) from shipments")) == 5000
