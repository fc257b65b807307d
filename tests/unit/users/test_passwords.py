from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from services.users.passwords import HASHER, Passwords, PasswordsBusy

if TYPE_CHECKING:
    from collections.abc import Iterator

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class SlowHasher(PasswordHasher):
    """Hashes when it is told to."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go = threading.Event()
        self.go.set()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        assert self.go.wait(10)
        return super().hash(password, salt=salt)


@pytest.fixture(name="passwords")
def _passwords() -> Iterator[Passwords]:
    with Passwords(CHEAP) as passwords:
        yield passwords


async def test_a_password_matches_its_own_hash_and_no_other(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")

    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "battery staple")


async def test_without_a_stored_hash_nothing_matches(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "correct horse")


async def test_a_password_matches_however_a_keyboard_composes_it(passwords: Passwords) -> None:
    stored = await passwords.hash("caf\u00e9 noir")

    assert await passwords.verify(stored, "cafe\u0301 noir")


async def test_a_hash_made_with_other_parameters_is_outdated_and_still_matches(passwords: Passwords) -> None:
    stored = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash("correct horse")

    assert passwords.is_outdated(stored)
    assert not passwords.is_outdated(await passwords.hash("correct horse"))
    assert await passwords.verify(stored, "correct horse")


async def test_when_too_many_wait_more_are_refused_and_told_when_to_come_back() -> None:
    hasher = SlowHasher()
    with Passwords(hasher, threads=1, max_waiting=2) as passwords:
        hasher.go.clear()
        waiting = [asyncio.create_task(passwords.hash("correct horse")) for _ in range(3)]
        await asyncio.sleep(0)

        with pytest.raises(PasswordsBusy) as refused:
            await passwords.hash("correct horse")
        hasher.go.set()

        assert refused.value.code == "RESOURCE_EXHAUSTED"
        assert refused.value.retry_after_s
        assert len(await asyncio.gather(*waiting)) == 3
        assert await passwords.hash("correct horse")


async def test_the_loop_goes_on_while_a_password_is_hashed() -> None:
    hasher = SlowHasher()
    with Passwords(hasher, threads=1) as passwords:
        hasher.go.clear()
        hashing = asyncio.create_task(passwords.hash("correct horse"))

        await asyncio.sleep(0)  # would not come back if hashing held the loop
        assert not hashing.done()
        hasher.go.set()

        assert (await hashing).startswith("$argon2id$")


def test_new_hashes_follow_the_owasp_recommendation() -> None:
    parameters = extract_parameters(HASHER.hash("correct horse"))

    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19456, 2, 1)
