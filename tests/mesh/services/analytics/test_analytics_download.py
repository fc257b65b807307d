"""All that was sold as CSV: a stream that is read as fast as its reader takes it, by gRPC and by REST through Envoy."""

from __future__ import annotations

import asyncio
import csv
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shop.analytics.v1 import analytics_pb2 as pb
from sqlalchemy import text

from services.analytics.download import BATCH, HEADER, MOST_AT_ONCE, Downloads
from services.analytics.ranges import DayRange
from tests.mesh.gateway.edge import OPENAPI, Gateway, Library, running_gateway
from tests.mesh.services.analytics.parts import Analytics, confirmed, offered, order_id
from tests.mesh.services.calls import refusal
from weft.gateway import GatewayConfig, docs, static
from weft.security import write_jwks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[4]
MARCH = pb.DownloadSalesRequest(from_date="2026-03-01", to_date="2026-03-31", time_zone="Europe/Berlin")
DAYS = DayRange.parse("2026-03-01", "2026-03-31", "Europe/Berlin")
MANY = """
    insert into sold_lines
    select gen_random_uuid(), 0, timestamptz '2026-03-01T12:00Z' + number * interval '1 second', 'SKU-' || number,
           'Thing' || repeat('!', 100), 'things', 2, 14.5
    from generate_series(1, {count}) as number
"""


async def given_many(analytics: Analytics, count: int) -> None:
    async with analytics.database.transaction() as tx:
        await tx.execute(text(MANY.format(count=count)))


async def downloaded(analytics: Analytics, request: pb.DownloadSalesRequest = MARCH) -> list[list[str]]:
    pieces = [piece async for piece in analytics.admin.DownloadSales(request)]
    assert {piece.content_type for piece in pieces} == {"text/csv; charset=utf-8"}
    return list(csv.reader(StringIO(b"".join(piece.data for piece in pieces).decode(), newline="")))


async def first_of(stream: Any) -> Any:
    return await anext(aiter(stream))


async def test_a_shop_that_sold_nothing_has_a_header(analytics: Analytics) -> None:
    assert await downloaded(analytics) == [list(HEADER)]


async def test_every_sold_line_is_there_in_order_with_what_it_was_called_then(analytics: Analytics) -> None:
    first, second = order_id("first"), order_id("second")
    await analytics.hear(
        offered("2026-02-01T00:00", "MUG", "kitchen", 'Mug, "blue"\r\nand Жук'),
        offered("2026-03-03T00:00", "MUG", "gifts", "Gift mug", sequence=2),
        confirmed("2026-03-29T00:30", {"MUG": (1, "0.005")}, order=second),
        confirmed("2026-03-02T12:00", {"PEN": (2, "5"), "MUG": (3, "14.50")}, order=first),
        confirmed("2026-03-31T22:00", {"PEN": (1, "5")}),  # April in Berlin
        confirmed("2026-02-28T22:59", {"PEN": (1, "5")}),  # February
    )

    rows = await downloaded(analytics)

    assert rows[1:] == [
        ["2026-03-02T13:00:00+01:00", first, "PEN", "", "", "2", "5.00", "10.00", "EUR"],
        ["2026-03-02T13:00:00+01:00", first, "MUG", 'Mug, "blue"\r\nand Жук', "kitchen", "3", "14.50", "43.50", "EUR"],
        ["2026-03-29T01:30:00+01:00", second, "MUG", "Gift mug", "gifts", "1", "0.005", "0.005", "EUR"],
    ]


async def test_lines_end_as_rfc_4180_says(analytics: Analytics) -> None:
    await analytics.hear(confirmed("2026-03-02T12:00", {"PEN": (2, "5")}))

    pieces = [piece.data async for piece in analytics.admin.DownloadSales(MARCH)]

    data = b"".join(pieces)
    assert data.count(b"\r\n") == data.count(b"\n") == 2


@pytest.mark.parametrize("name", ['=HYPERLINK("http://evil")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
async def test_a_name_that_a_spreadsheet_would_run_is_text(analytics: Analytics, name: str) -> None:
    await analytics.hear(
        offered("2026-02-01T00:00", "MUG", "-kitchen", name), confirmed("2026-03-02T12:00", {"MUG": (1, "5")})
    )

    [_, row] = await downloaded(analytics)

    assert row[3:5] == [f"'{name}", "'-kitchen"]


async def test_a_slow_reader_keeps_what_it_has_not_taken_in_the_database(
    analytics: Analytics, monkeypatch: pytest.MonkeyPatch
) -> None:
    await given_many(analytics, 120 * BATCH)
    made = list[int]()
    sold = Downloads.sold

    async def counted(downloads: Downloads, days: DayRange) -> AsyncIterator[bytes]:
        async for piece in sold(downloads, days):
            made.append(len(piece))
            yield piece

    monkeypatch.setattr(Downloads, "sold", counted)
    stream = analytics.admin.DownloadSales(MARCH)
    await first_of(stream)
    for _ in range(20):  # what the transport has room for is made meanwhile
        await analytics.sales("2026-03-01", "2026-03-01")
    early = sum(made)
    rest = sum([piece.data.count(b"\r\n") async for piece in stream])

    assert early < sum(made) / 2  # gRPC itself takes some 4 MiB in advance
    assert rest == 120 * BATCH
    assert max(made) < 300 * BATCH


async def test_a_download_shows_the_moment_at_which_it_began(analytics: Analytics) -> None:
    await given_many(analytics, 3 * BATCH)
    stream = Downloads(analytics.database, "EUR").sold(DAYS)
    header = await anext(stream)
    await asyncio.create_task(_sold_more(analytics))

    lines = sum([piece.count(b"\r\n") async for piece in stream])

    assert header.startswith(b"confirm_time,order_id")
    assert lines == 3 * BATCH


async def _sold_more(analytics: Analytics) -> None:
    await analytics.hear(confirmed("2026-03-30T12:00", {"PEN": (1, "5")}))


async def test_few_download_at_once_and_who_stops_makes_room(analytics: Analytics) -> None:
    await given_many(analytics, 60 * BATCH)
    under_way = [analytics.admin.DownloadSales(MARCH) for _ in range(MOST_AT_ONCE)]
    for stream in under_way:
        await first_of(stream)

    refused = await refusal(first_of(analytics.admin.DownloadSales(MARCH)))
    reported = await analytics.sales("2026-03-01", "2026-03-01")
    under_way[0].cancel()
    async with asyncio.timeout(10):
        while len(await _rows_or_refused(analytics)) == 1:
            await asyncio.sleep(0.01)
    for stream in under_way:
        stream.cancel()

    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_DOWNLOADS")
    assert reported.total.orders == 0


async def _rows_or_refused(analytics: Analytics) -> list[list[str]]:
    """Return a few rows, or one that says that there is no room."""
    april = pb.DownloadSalesRequest(from_date="2026-03-01", to_date="2026-03-01")
    try:
        return await downloaded(analytics, april)
    except Exception as error:  # noqa: BLE001  # of grpc, whatever it is
        return [[str(error)]]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from_date": "2026-02-30"}, "RANGE_INVALID"),
        ({"to_date": "2026-02-28"}, "RANGE_INVALID"),
        ({"time_zone": "Mars/Olympus"}, "TIME_ZONE_UNKNOWN"),
    ],
)
async def test_what_can_t_be_downloaded_is_refused_with_its_reason(
    analytics: Analytics, fields: dict[str, str], reason: str
) -> None:
    request = pb.DownloadSalesRequest(**({"from_date": "2026-03-01", "to_date": "2026-03-31"} | fields))

    refused = await refusal(first_of(analytics.admin.DownloadSales(request)))

    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", reason)


@asynccontextmanager
async def gateway_to(analytics: Analytics, folder: Path) -> AsyncIterator[Gateway]:
    """Run Envoy with the shop's own contract before *analytics*; all other services are away."""
    shop = Library(ROOT / "gen" / "image.binpb")
    port = int(analytics.server.target.rpartition(":")[2])
    hosts = {
        service.name: [("127.0.0.1", port if service.name == "analytics" else 1)] for service in shop.contract.services
    }
    (folder / "image.binpb").symlink_to(shop.image)
    (folder / "openapi.json").write_text(OPENAPI)
    (folder / "docs.html").write_text(docs.page())
    write_jwks([analytics.server.key], folder / "jwks.json")
    config = static(shop.contract, GatewayConfig(port=0), hosts=hosts, folder=str(folder), admin_port=0)
    (folder / "envoy.yaml").write_text(config)
    async with running_gateway(shop, folder) as gateway:
        yield gateway


async def test_a_browser_downloads_more_than_the_gateway_would_hold(analytics: Analytics, tmp_path: Path) -> None:
    await given_many(analytics, 100 * BATCH)
    [(name, token)] = analytics.server.token("root", ("user", "admin"))
    folder = tmp_path / "gateway"
    folder.mkdir()
    path = "/v1/reports/sales:download?fromDate=2026-03-01&toDate=2026-03-31&timeZone=Europe/Berlin"
    async with gateway_to(analytics, folder) as gateway:
        answer = await gateway.rest("GET", path, headers={name: token})
        report = await gateway.rest("GET", path.replace(":download", ""), headers={name: token})
        wrong = await gateway.rest("GET", path.replace("03-31", "02-01"), headers={name: token})
        nobody = await gateway.rest("GET", path)

    headers = {key.lower(): value for key, value in answer.headers.items()}
    assert (answer.status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert headers["content-disposition"] == 'attachment; filename="sales-2026-03-01-2026-03-31.csv"'
    assert len(answer.body) > 16 * 1024 * 1024
    rows = list(csv.reader(StringIO(answer.body.decode(), newline="")))
    assert len(rows) == 100 * BATCH + 1
    assert rows[-1][2] == f"SKU-{100 * BATCH}"
    assert (report.status, report.json["lines"]) == (200, [])
    assert (wrong.status, wrong.json["details"][0]["reason"]) == (400, "RANGE_INVALID")
    assert nobody.status == 401
