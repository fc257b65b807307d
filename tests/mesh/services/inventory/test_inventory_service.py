from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from shop.inventory.v1 import inventory_pb2 as pb

from tests.mesh.services.calls import Calls, outcome, refusal
from tests.mesh.services.inventory.parts import HOLD_S, stock_lines
from weft.testing import STRANGER

if TYPE_CHECKING:
    from tests.mesh.services.inventory.parts import Inventory


async def test_reserved_units_leave_the_shelf_for_a_quarter_of_an_hour(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    await inventory.given("POT", 3)

    response = await inventory.reserve(str(uuid4()), MUG=4, POT=3)

    assert await inventory.units("MUG") == (6, 4, 0)
    assert await inventory.units("POT") == (0, 3, 0)
    held = response.expire_time.ToDatetime(UTC) - datetime.now(UTC)
    assert timedelta(seconds=HOLD_S - 60) < held <= timedelta(seconds=HOLD_S)
    await inventory.balance()


async def test_too_few_units_of_some_lines_reserve_none_and_every_such_line_is_named(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    await inventory.given("POT", 3)
    order_id = str(uuid4())

    error = await refusal(inventory.reserve(order_id, POT=4, MUG=10, PEN=1))

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_STOCK")
    assert error.metadata == {"skus": "PEN,POT", "lines": "0,2"}
    assert {(each.field, each.description) for each in error.violations} == {
        ("lines[0].quantity", "only 3 on hand"),
        ("lines[2].quantity", "only 0 on hand"),
    }
    assert await inventory.units("MUG") == (10, 0, 0)
    await inventory.reserve(order_id, MUG=10)  # having reserved nothing, the order may try other lines
    await inventory.balance()


async def test_a_refusal_of_a_hundred_lines_with_the_longest_skus_arrives(inventory: Inventory) -> None:
    lines = {f"{number:03}-{'X' * 60}": 999 for number in range(100)}

    error = await refusal(inventory.reserve(str(uuid4()), **lines))

    assert (error.code, error.reason, len(error.violations)) == ("FAILED_PRECONDITION", "INSUFFICIENT_STOCK", 100)


async def test_a_sku_in_two_lines_is_refused(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    lines = [pb.StockLine(sku=sku, quantity=1) for sku in ("MUG", "POT", "MUG")]

    error = await refusal(inventory.orders.ReserveStock(pb.ReserveStockRequest(order_id=str(uuid4()), lines=lines)))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "DUPLICATE_SKUS")
    assert [each.field for each in error.violations] == ["lines[2].sku"]
    assert await inventory.units("MUG") == (10, 0, 0)


@pytest.mark.parametrize("keep_answers", [True, False], ids=["", "after stored answers have expired"])
async def test_reserving_twice_reserves_once(inventory: Inventory, *, keep_answers: bool) -> None:
    await inventory.given("MUG", 10)
    await inventory.given("POT", 10)
    order_id = str(uuid4())
    first = await inventory.reserve(order_id, "first", MUG=4, POT=2)

    if not keep_answers:
        await inventory.run("delete from request_answers")
    again = await inventory.reserve(order_id, "first", MUG=4, POT=2)
    otherwise = await inventory.reserve(order_id, POT=2, MUG=4)

    assert first == again == otherwise
    assert await inventory.kinds("MUG") == ["ADJUSTED", "RESERVED"]
    assert await inventory.units("MUG") == (6, 4, 0)


async def test_a_reservation_of_other_lines_is_refused(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = await inventory.reserved(MUG=4)

    for lines in ({"MUG": 5}, {"MUG": 4, "POT": 1}, {"POT": 4}):
        error = await refusal(inventory.reserve(order_id, **lines))
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "RESERVATION_DIFFERS")

    assert await inventory.units("MUG") == (6, 4, 0)


async def test_a_release_puts_units_back_once(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = await inventory.reserved(MUG=4)

    for _ in range(2):
        await inventory.release(order_id)

    assert await inventory.ledger("MUG") == [
        ("ADJUSTED", (10, 0, 0)),
        ("RESERVED", (-4, 4, 0)),
        ("RELEASED", (4, -4, 0)),
    ]
    await inventory.balance()


async def test_after_a_release_nothing_can_be_reserved_or_sold(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = await inventory.reserved(MUG=4)
    await inventory.release(order_id)

    for call in (inventory.reserve(order_id, MUG=4), inventory.reserve(order_id, MUG=1), inventory.commit(order_id)):
        error = await refusal(call)
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESERVATION_CLOSED")

    assert await inventory.units("MUG") == (10, 0, 0)


async def test_a_reservation_that_arrives_after_its_release_finds_the_door_closed(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = str(uuid4())

    for _ in range(2):
        await inventory.release(order_id)
    outcomes = [await outcome(inventory.reserve(order_id, MUG=4)), await outcome(inventory.commit(order_id))]

    assert outcomes == ["RESERVATION_CLOSED"] * 2
    assert await inventory.units("MUG") == (10, 0, 0)


async def test_a_commit_sells_once(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = await inventory.reserved(MUG=4)

    for _ in range(2):
        await inventory.commit(order_id)
    await inventory.reserve(order_id, MUG=4)  # a repeat that was on its way for long

    assert await inventory.ledger("MUG") == [
        ("ADJUSTED", (10, 0, 0)),
        ("RESERVED", (-4, 4, 0)),
        ("COMMITTED", (0, -4, 4)),
    ]
    await inventory.balance()


async def test_nothing_can_be_sold_that_was_never_reserved(inventory: Inventory) -> None:
    error = await refusal(inventory.commit(str(uuid4())))

    assert (error.code, error.reason) == ("NOT_FOUND", "RESERVATION_NOT_FOUND")


async def test_sold_units_go_back_to_the_shelf_once(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    order_id = await inventory.reserved(MUG=4)
    await inventory.commit(order_id)

    for _ in range(2):
        await inventory.release(order_id)

    assert (await inventory.ledger("MUG"))[2:] == [("COMMITTED", (0, -4, 4)), ("RETURNED", (4, 0, -4))]
    assert await outcome(inventory.commit(order_id)) == "RESERVATION_CLOSED"
    assert await outcome(inventory.reserve(order_id, MUG=4)) == "RESERVATION_CLOSED"
    await inventory.balance()


async def test_an_adjustment_is_kept_with_its_reason(inventory: Inventory) -> None:
    stock = await inventory.adjust("MUG", 10, reason="delivery", low_stock_threshold=3)
    assert (stock.sku, stock.on_hand, stock.reserved, stock.sold, stock.low_stock_threshold) == ("MUG", 10, 0, 0, 3)

    stock = await inventory.adjust("MUG", -2, reason="broken")

    assert (stock.on_hand, stock.low_stock_threshold) == (8, 3)
    assert stock == (await inventory.admin.GetStock(pb.GetStockRequest(sku="MUG"))).stock
    newest, oldest = (await inventory.admin.ListStockChanges(pb.ListStockChangesRequest(sku="MUG"))).changes
    assert (newest.kind, newest.on_hand_delta, newest.reason) == (pb.StockChange.KIND_ADJUSTED, -2, "broken")
    assert (oldest.sku, oldest.reason, oldest.order_id) == ("MUG", "delivery", "")
    assert newest.change_id > oldest.change_id > 0
    assert newest.create_time.ToDatetime() > oldest.create_time.ToDatetime()


async def test_no_more_can_be_taken_away_than_is_on_hand(inventory: Inventory) -> None:
    await inventory.given("MUG", 10)
    await inventory.reserved(MUG=4)

    for sku, delta in (("MUG", -7), ("POT", -1)):
        error = await refusal(inventory.adjust(sku, delta, low_stock_threshold=1))
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_STOCK")
        assert error.metadata == {"skus": sku}

    assert await inventory.units("MUG") == (6, 4, 0)
    assert await outcome(inventory.admin.GetStock(pb.GetStockRequest(sku="POT"))) == "STOCK_NOT_FOUND"
    assert (await inventory.adjust("MUG", -6)).on_hand == 0
    await inventory.balance()


async def test_an_adjustment_with_a_request_id_is_made_once(inventory: Inventory) -> None:
    for _ in range(2):
        await inventory.adjust("MUG", 10, request_id="delivery-7")

    assert await inventory.units("MUG") == (10, 0, 0)


async def test_stock_that_falls_to_its_threshold_is_told_of_each_time_it_does(inventory: Inventory) -> None:
    await inventory.given("MUG", 10, threshold=4)
    await inventory.given("POT", 2, threshold=0)

    await inventory.reserved(MUG=5)
    assert await inventory.low() == []
    order_id = await inventory.reserved(MUG=2, POT=2)
    await inventory.reserved(MUG=1)
    assert await inventory.low() == [("MUG", 3, 4), ("POT", 0, 0)]

    await inventory.adjust("MUG", 1)
    await inventory.release(order_id)
    await inventory.adjust("MUG", -3)

    assert await inventory.low() == [("MUG", 3, 4), ("POT", 0, 0), ("MUG", 2, 4)]


async def test_stock_that_does_not_fall_is_not_told_of(inventory: Inventory) -> None:
    await inventory.given("MUG", 0, threshold=5)
    await inventory.given("MUG", 3)
    await inventory.given("POT", 5, threshold=1)
    await inventory.adjust("POT", 0, low_stock_threshold=9)
    await refusal(inventory.reserve(str(uuid4()), MUG=4))

    assert await inventory.low() == []


async def test_lists_come_by_sku_page_by_page(inventory: Inventory) -> None:
    skus = sorted(f"{letter}-{number}" for letter in "ABC" for number in range(5))
    for sku in reversed(skus):
        await inventory.given(sku, 1)

    seen: list[str] = []
    token = ""
    while True:
        page = await inventory.admin.ListStock(pb.ListStockRequest(page_size=4, page_token=token))
        seen += [stock.sku for stock in page.stock]
        token = page.next_page_token
        if not token:
            break

    assert seen == skus
    assert len((await inventory.admin.ListStock(pb.ListStockRequest())).stock) == 15


async def test_the_ledger_comes_newest_first_page_by_page(inventory: Inventory) -> None:
    for number in range(1, 8):
        await inventory.given("MUG", number)
        await inventory.given("POT", 100)

    seen: list[int] = []
    token = ""
    while True:
        request = pb.ListStockChangesRequest(sku="MUG", page_size=3, page_token=token)
        page = await inventory.admin.ListStockChanges(request)
        seen += [change.on_hand_delta for change in page.changes]
        token = page.next_page_token
        if not token:
            break

    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert (await inventory.admin.ListStockChanges(pb.ListStockChangesRequest(sku="PEN"))).changes == []


async def test_a_page_token_goes_with_its_list_only(inventory: Inventory) -> None:
    for sku in ("MUG", "POT"):
        await inventory.given(sku, 1)
        await inventory.given(sku, 1)
    stock = (await inventory.admin.ListStock(pb.ListStockRequest(page_size=1))).next_page_token
    mugs = await inventory.admin.ListStockChanges(pb.ListStockChangesRequest(sku="MUG", page_size=1))

    for call in (
        inventory.admin.ListStock(pb.ListStockRequest(page_token=mugs.next_page_token)),
        inventory.admin.ListStockChanges(pb.ListStockChangesRequest(sku="MUG", page_token=stock)),
        inventory.admin.ListStockChanges(pb.ListStockChangesRequest(sku="POT", page_token=mugs.next_page_token)),
    ):
        error = await refusal(call)
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


ORDER_ID = "3b241101-e2bb-4255-8caf-4136c566a962"
OF_ORDERS: list[tuple[str, Any]] = [
    ("ReserveStock", pb.ReserveStockRequest(order_id=ORDER_ID, lines=stock_lines({"MUG": 1}))),
    ("ReleaseStock", pb.ReleaseStockRequest(order_id=ORDER_ID)),
    ("CommitStock", pb.CommitStockRequest(order_id=ORDER_ID)),
]
OF_ADMINS: list[tuple[str, Any]] = [
    ("AdjustStock", pb.AdjustStockRequest(sku="MUG", delta=1, reason="delivery")),
    ("GetStock", pb.GetStockRequest(sku="MUG")),
    ("ListStock", pb.ListStockRequest()),
    ("ListStockChanges", pb.ListStockChangesRequest(sku="MUG")),
]


@pytest.mark.parametrize(("method", "request_"), OF_ORDERS, ids=[name for name, _ in OF_ORDERS])
async def test_units_are_moved_for_orders_by_the_orders_service_only(
    inventory: Inventory, method: str, request_: Any
) -> None:
    stub, server = inventory.orders._stub, inventory.server
    callers = {
        "nobody": Calls(stub),
        "a shopper": Calls(stub, server.token(str(uuid4()))),
        "an administrator": inventory.admin,
        "another service": Calls(stub, server.service_token(STRANGER)),
    }

    codes = {who: (await refusal(getattr(calls, method)(request_))).code for who, calls in callers.items()}

    assert codes == {
        "nobody": "UNAUTHENTICATED",
        "a shopper": "UNAUTHENTICATED",
        "an administrator": "UNAUTHENTICATED",
        "another service": "PERMISSION_DENIED",
    }
    assert await inventory.rows("select 1 from reservations") == []


@pytest.mark.parametrize(("method", "request_"), OF_ADMINS, ids=[name for name, _ in OF_ADMINS])
async def test_stock_is_shown_to_administrators_only(inventory: Inventory, method: str, request_: Any) -> None:
    stub, server = inventory.orders._stub, inventory.server

    codes = [
        (await refusal(getattr(calls, method)(request_))).code
        for calls in (Calls(stub), Calls(stub, server.token(str(uuid4()))), inventory.orders)
    ]

    assert codes[:2] == ["UNAUTHENTICATED", "PERMISSION_DENIED"]
    assert codes[2] in ("UNAUTHENTICATED", "PERMISSION_DENIED")
