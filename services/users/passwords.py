"""Argon2id off the event loop, a bounded number at a time."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from weft.errors import ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["HASHER", "Passwords", "PasswordsBusy"]

T = TypeVar("T")

HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""19 MiB, two passes, one lane: about 20 ms here. Argon2id is the default type of argon2-cffi.

Source: OWASP Password Storage Cheat Sheet, Argon2id; RFC 9106 section 4 says how to weigh memory against time.
"""

RETRY_AFTER_S: Final = 1.0


class PasswordsBusy(ResourceExhausted):
    """More passwords wait to be checked than can be in good time."""

    def __init__(self) -> None:
        super().__init__("too many logins at the moment; try again", retry_after_s=RETRY_AFTER_S)


class Passwords:
    """Hashes and verifies passwords in threads of its own; argon2 lets go of the interpreter's lock meanwhile.

    Args:
        hasher: the parameters new hashes are made with.
        threads: how many run at once; each takes the hasher's memory.
        max_waiting: how many may wait for a thread before more are refused.
    """

    def __init__(self, hasher: PasswordHasher = HASHER, *, threads: int = 2, max_waiting: int = 64) -> None:
        self._hasher = hasher
        self._max_waiting = max_waiting + threads
        self._waiting = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._nobodys_hash = hasher.hash(secrets.token_urlsafe())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return what to store of *password*, parameters and salt included. Raises PasswordsBusy."""
        return await self._run(lambda: self._hasher.hash(_normalized(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether *password* is the one *stored* was made of.

        Without *stored* the answer is no after the same work: the time tells nobody whether an account exists.
        Raises PasswordsBusy.
        """
        matches = await self._run(lambda: self._matches(stored or self._nobodys_hash, _normalized(password)))
        return matches and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Tell whether *stored* was made with other parameters than are used now."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._max_waiting:
            raise PasswordsBusy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._waiting -= 1


def _normalized(password: str) -> str:
    """Return the same text for every way a keyboard may compose it.

    Source: NIST SP 800-63B section 5.1.1.2, Unicode normalisation of passwords.
    """
    return unicodedata.normalize("NFKC", password)
