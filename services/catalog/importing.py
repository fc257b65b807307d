"""Takes a file of products in, as it comes: never more of it is in memory than a piece and the lines of one batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from shop.catalog.v1 import catalog_pb2 as pb

from services.catalog.domain import SkuTaken
from services.catalog.lines import Line, Outcome, Refused
from services.catalog.reading import CsvReader, JsonReader
from services.catalog.records import ImportMalformed, Records
from weft.errors import Aborted
from weft.server import validator_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping

    from services.catalog.assortment import Assortment
    from services.catalog.reading import LineReader
    from services.catalog.records import Record

__all__ = ["Importer"]

BATCH_LINES: Final = 250
"""In one transaction: enough that its commit costs little, few enough that other calls don't wait for them."""
BATCH_BYTES: Final = 1024 * 1024
MAX_ERRORS: Final = 1000
ATTEMPTS: Final = 5
"""Of a batch that meets others who change the same products."""

_Format = pb.ImportProductsRequest.Format
_READERS: Final[Mapping[_Format.ValueType, Callable[..., LineReader]]] = {
    _Format.FORMAT_CSV: CsvReader,
    _Format.FORMAT_NDJSON: JsonReader,
}


class Importer:
    """Imports files of one service.

    Args:
        assortment: Takes lines.
        currency: Of all prices.
    """

    def __init__(self, assortment: Assortment, *, currency: str) -> None:
        self._assortment, self._currency = assortment, currency
        self._validate = validator_of(pb.Product)

    async def run(self, pieces: AsyncIterable[pb.ImportProductsRequest]) -> pb.ImportProductsResponse:
        """Import one file; return what became of its lines.

        Raises:
            ImportMalformed: it can't be read on. The lines before that are imported.
        """
        file: _File | None = None
        async for piece in pieces:
            if file is None:
                reader = _READERS.get(piece.format)
                if reader is None:
                    raise ImportMalformed("the first piece does not say which format the file has")
                file = _File(self._assortment, reader(self._currency, self._validate), piece.format)
            elif piece.format not in (_Format.FORMAT_UNSPECIFIED, file.format):
                await file.flush()
                raise ImportMalformed("a file has one format")
            await file.take(file.records.feed(piece.data))
        if file is None:
            raise ImportMalformed("there is no piece, and nothing says which format the file has")
        await file.take(file.records.end())
        return await file.finish()


class _File:
    """A file under way."""

    def __init__(self, assortment: Assortment, reader: LineReader, format_: _Format.ValueType) -> None:
        self.format = format_
        self.records = Records(quoted=format_ == _Format.FORMAT_CSV)
        self._assortment, self._reader = assortment, reader
        self._lines: list[Line] = []
        self._read, self._read_bytes = 0, 0
        """Records since the last batch, those that are refused included."""
        self._has_header = format_ != _Format.FORMAT_CSV
        self._counts: Counter[Outcome | None] = Counter()
        """How many lines came to what; None is for those that were refused."""
        self._refused: list[Refused] = []

    async def take(self, records: Iterable[Record]) -> None:
        try:
            for record in records:
                self._note(self._reader.read(record))
                self._read += 1
                self._read_bytes += len(record.text)
                if self._read >= BATCH_LINES or self._read_bytes >= BATCH_BYTES:
                    await self.flush()
        except ImportMalformed:
            await self.flush()
            raise

    async def flush(self) -> None:
        """Import the lines that wait."""
        lines, self._lines, self._read, self._read_bytes = self._lines, [], 0, 0
        if lines:
            for outcome in await self._patiently(lines):
                self._note(outcome)
        else:
            await asyncio.sleep(0)  # other calls go on, however many lines are refused

    async def finish(self) -> pb.ImportProductsResponse:
        if not self._has_header:
            raise ImportMalformed("the file has no header")
        await self.flush()
        counts = self._counts
        refused = sorted(self._refused)[:MAX_ERRORS]
        return pb.ImportProductsResponse(
            lines=counts.total(),
            added=counts[Outcome.ADDED],
            changed=counts[Outcome.CHANGED],
            unchanged=counts[Outcome.UNCHANGED],
            failed=counts[None],
            errors=[pb.ImportError(**each._asdict()) for each in refused],
        )

    def _note(self, outcome: Line | Outcome | Refused | None) -> None:
        match outcome:
            case None:
                self._has_header = True
            case Line():
                self._lines.append(outcome)
            case Refused():
                self._counts[None] += 1
                # Lines of a batch are refused after those it could not read; by the end the first ones are kept.
                if len(self._refused) < MAX_ERRORS + BATCH_LINES:
                    self._refused.append(outcome)
            case Outcome():
                self._counts[outcome] += 1

    async def _patiently(self, lines: list[Line]) -> list[Outcome | Refused]:
        """Import *lines*, again where somebody else changed the same products at this moment.

        Raises:
            Aborted, SkuTaken: it happened each time.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._assortment.take(lines, now=datetime.now(UTC), new_id=uuid4)
            except (Aborted, SkuTaken):
                await asyncio.sleep(0)
        return await self._assortment.take(lines, now=datetime.now(UTC), new_id=uuid4)
