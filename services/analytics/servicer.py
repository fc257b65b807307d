"""`shop.analytics.v1.AnalyticsService`."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from shop.analytics.v1 import analytics_pb2 as pb
from shop.analytics.v1 import analytics_pb2_grpc as pb_grpc

from services.analytics import behaviour_store, purchases, reports
from services.analytics.domain import NANOS, Behaviour, InvalidFields, Kind, in_nanos, noted_time
from services.analytics.ranges import DayRange
from services.analytics.reports import GroupBy
from services.exporting import every
from weft.errors import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from decimal import Decimal

    from google.protobuf.message import Message

    from services.analytics.domain import SoldLine
    from services.analytics.download import Downloads
    from services.analytics.intake import Intake
    from services.analytics.reports import Sold
    from weft.data import Database
    from weft.server import Context

__all__ = ["AnalyticsServicer"]

BEST_SELLERS: Final = 10
CSV: Final = "text/csv; charset=utf-8"
_KINDS: Final = {
    pb.Behaviour.KIND_PRODUCT_VIEWED: Kind.VIEWED,
    pb.Behaviour.KIND_SEARCHED: Kind.SEARCHED,
    pb.Behaviour.KIND_ADDED_TO_CART: Kind.ADDED_TO_CART,
}
_NUMBERS: Final = {kind: number for number, kind in _KINDS.items()}
_GROUPS: Final = {
    pb.GetSalesReportRequest.GROUP_BY_UNSPECIFIED: GroupBy.DAY,
    pb.GetSalesReportRequest.GROUP_BY_DAY: GroupBy.DAY,
    pb.GetSalesReportRequest.GROUP_BY_CATEGORY: GroupBy.CATEGORY,
    pb.GetSalesReportRequest.GROUP_BY_PRODUCT: GroupBy.SKU,
}


class AnalyticsServicer(pb_grpc.AnalyticsServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(self, database: Database, intake: Intake, downloads: Downloads, *, currency: str) -> None:
        self._database, self._intake, self._downloads = database, intake, downloads
        self._currency = currency

    async def RecordBehaviour(self, request: pb.RecordBehaviourRequest, context: Context) -> pb.RecordBehaviourResponse:
        return pb.RecordBehaviourResponse(dropped=self._intake.take(_behaviours(request, datetime.now(UTC))))

    async def GetSalesReport(self, request: pb.GetSalesReportRequest, context: Context) -> pb.GetSalesReportResponse:
        group_by = _GROUPS.get(request.group_by)
        if group_by is None:
            raise InvalidFields("no such grouping", violations=[Violation("groupBy", "must be one of its values")])
        found = await reports.report(self._database, _days(request), group_by)
        shows_refunds = group_by is GroupBy.DAY
        return pb.GetSalesReportResponse(
            lines=[self._line(line, shows_refunds=shows_refunds) for line in found.lines],
            total=self._line(found.total, shows_refunds=True),
        )

    async def GetBestSellers(self, request: pb.GetBestSellersRequest, context: Context) -> pb.GetBestSellersResponse:
        found = await reports.best_sellers(self._database, _days(request), request.limit or BEST_SELLERS)
        return pb.GetBestSellersResponse(lines=[self._line(line, shows_refunds=False) for line in found])

    async def GetConversionReport(
        self, request: pb.GetConversionReportRequest, context: Context
    ) -> pb.GetConversionReportResponse:
        found = await reports.conversion(self._database, _days(request))
        return pb.GetConversionReportResponse(
            viewers=found.viewers,
            carts=found.carts,
            buyers=found.buyers,
            cart_rate=_rate(found.carts, found.viewers),
            checkout_rate=_rate(found.buyers, found.carts),
            conversion_rate=_rate(found.buyers, found.viewers),
        )

    async def GetRepeatCustomersReport(
        self, request: pb.GetRepeatCustomersReportRequest, context: Context
    ) -> pb.GetRepeatCustomersReportResponse:
        found = await reports.repeats(self._database, _days(request))
        return pb.GetRepeatCustomersReportResponse(
            customers=found.customers,
            repeat_customers=found.repeat_customers,
            repeat_rate=_rate(found.repeat_customers, found.customers),
        )

    async def DownloadSales(self, request: pb.DownloadSalesRequest, context: Context) -> AsyncIterator[HttpBody]:
        days = _days(request)
        async with aclosing(self._downloads.sold(days)) as pieces:
            name = f"sales-{days.first}-{days.last}.csv"
            async for piece in pieces:
                if name:  # not before there is something to send: a refusal has no file name
                    await context.send_initial_metadata((("content-disposition", f'attachment; filename="{name}"'),))
                    name = ""
                yield HttpBody(content_type=CSV, data=piece)

    async def ExportUserData(
        self, request: pb.ExportUserDataRequest, context: Context
    ) -> AsyncIterator[pb.ExportUserDataResponse]:
        user_id = str(UUID(request.user_id))
        behaviour = partial(behaviour_store.list_of_visitor, self._database, user_id)
        async for done in every(behaviour, lambda last: (last.time, last.event_id)):
            yield _exported(_behaviour(done))
        lines = partial(purchases.list_of_user, self._database, user_id)
        async for line in every(lines, lambda last: (last.time, last.order_id, last.position)):
            yield _exported(self._sold_line(line))

    def _sold_line(self, line: SoldLine) -> pb.SoldLine:
        return pb.SoldLine(
            order_id=str(line.order_id),
            confirm_time=_timestamp(line.time),
            sku=line.sku,
            name=line.name,
            category=line.category,
            quantity=line.quantity,
            unit_price=self._money(line.unit_price),
        )

    def _line(self, sold: Sold, *, shows_refunds: bool) -> pb.SalesLine:
        return pb.SalesLine(
            key=sold.key,
            name=sold.name,
            orders=sold.orders,
            units=sold.units,
            revenue=self._money(sold.revenue),
            refunded=self._money(sold.refunded) if shows_refunds else None,
        )

    def _money(self, amount: Decimal) -> Money:
        units, nanos = divmod(in_nanos(amount), NANOS)
        return Money(currency_code=self._currency, units=units, nanos=nanos)


def _days(
    request: pb.GetSalesReportRequest
    | pb.GetBestSellersRequest
    | pb.GetConversionReportRequest
    | pb.GetRepeatCustomersReportRequest
    | pb.DownloadSalesRequest,
) -> DayRange:
    return DayRange.parse(request.from_date, request.to_date, request.time_zone)


def _behaviours(request: pb.RecordBehaviourRequest, now: datetime) -> list[Behaviour]:
    """Return what was done. Raises InvalidFields naming all that can't be."""
    violations, done = list[Violation](), list[Behaviour]()
    for index, event in enumerate(request.events):
        kind = _KINDS.get(event.kind)
        if kind is None:
            violations.append(Violation(f"events[{index}].kind", "must be one of its values"))
        elif (kind is Kind.SEARCHED) == bool(event.product_id):
            must = "must be empty of a search" if kind is Kind.SEARCHED else "is required unless it is a search"
            violations.append(Violation(f"events[{index}].productId", must))
        else:
            done.append(
                Behaviour(
                    event_id=UUID(event.event_id),
                    kind=kind,
                    visitor_id=event.visitor_id,
                    product_id=UUID(event.product_id) if event.product_id else None,
                    time=noted_time(_time(event.time) if event.HasField("time") else None, now),
                )
            )
    if violations:
        raise InvalidFields("nothing was taken", violations=violations)
    return done


def _behaviour(done: Behaviour) -> pb.Behaviour:
    return pb.Behaviour(
        event_id=str(done.event_id),
        kind=_NUMBERS[done.kind],
        visitor_id=done.visitor_id,
        product_id=str(done.product_id) if done.product_id else "",
        time=_timestamp(done.time),
    )


def _exported(message: Message) -> pb.ExportUserDataResponse:
    response = pb.ExportUserDataResponse()
    response.item.Pack(message)
    return response


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def _time(stamp: Timestamp) -> datetime | None:
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):  # no such year
        return None


def _rate(part: int, whole: int) -> float:
    """Return *part* per *whole*, 0 without any."""
    return part / whole if whole else 0.0
