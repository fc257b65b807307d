"""The cache of one process: bounded, forgetful in time, and by tag."""

from __future__ import annotations

import pytest

from weft.data.cache import MemoryStore


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="store")
def _store(clock: Clock) -> MemoryStore:
    return MemoryStore(max_entries=3, clock=clock)


async def put(store: MemoryStore, key: str, *tags: str, ttl_s: float = 60) -> None:
    await store.write(key, key.encode(), ttl_s=ttl_s, tags=tags, stamp=None)


async def known(store: MemoryStore, *keys: str) -> list[str]:
    return [key for key in keys if (await store.read(key, ()))[0] is not None]


async def test_the_least_recently_used_entry_leaves_first(store: MemoryStore) -> None:
    for key in "abc":
        await put(store, key)
    await store.read("a", ())

    await put(store, "d")

    assert await known(store, *"abcd") == ["a", "c", "d"]


async def test_an_entry_lives_as_long_as_it_was_given(store: MemoryStore, clock: Clock) -> None:
    await put(store, "brief", ttl_s=1)
    await put(store, "long", ttl_s=10)

    clock.now_s += 1

    assert await known(store, "brief", "long") == ["long"]


async def test_a_tag_takes_all_its_entries_along_and_no_other(store: MemoryStore) -> None:
    await put(store, "a", "lists")
    await put(store, "b", "lists", "jar:1")
    await put(store, "c", "jar:1")

    await store.drop(["lists", "unknown"])

    assert await known(store, *"abc") == ["c"]


async def test_an_entry_written_again_has_its_new_tags_only(store: MemoryStore) -> None:
    await put(store, "a", "old")
    await put(store, "a", "new")

    await store.drop(["old"])
    assert await known(store, "a") == ["a"]
    await store.drop(["new"])
    assert await known(store, "a") == []


async def test_nothing_is_kept_of_entries_that_left(store: MemoryStore, clock: Clock) -> None:
    for number in range(100):
        await put(store, f"key {number}", f"tag {number}", "every", ttl_s=1)
    clock.now_s += 1
    for number in range(100):
        await store.read(f"key {number}", ())

    assert not store._entries  # memory has no other face
    assert not store._keys_by_tag
