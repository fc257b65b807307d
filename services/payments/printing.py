"""Makes PDFs off the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from services.payments.invoices import Invoice

__all__ = ["Printer"]


class Printer:
    """Prints one invoice after another, in a thread of its own: more of them would only fight for the interpreter.

    The first one loads what draws it, some 40 MB that a replica that prints nothing does without.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="pdf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    async def print(self, invoice: Invoice) -> bytes:
        """Return *invoice* as a PDF; who leaves before it is begun has it not made."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, _print, invoice)


def _print(invoice: Invoice) -> bytes:
    from services.payments import pdf  # noqa: PLC0415  # see Printer

    return pdf.render(invoice)
