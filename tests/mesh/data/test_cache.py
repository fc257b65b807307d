"""Both caches load once, never keep what was made stale, and follow what other replicas' writers say."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import subprocess
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
import sqlalchemy as sa

from weft.data import prepare
from weft.data.cache import Cache, open_cache
from weft.data.redis_store import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from weft.data import Database

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

jars = sa.table("jars", sa.column("jar_id", sa.Text), sa.column("label", sa.Text))
LABEL = prepare(sa.select(jars.c.label).where(jars.c.jar_id == sa.bindparam("jar_id")))


class RedisServer:
    """A real redis-server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # A busy machine is no failure: hence the long timeouts.
        self.url = f"redis://127.0.0.1:{self.port}/0?socket_timeout=10&socket_connect_timeout=10"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.terminate()
            self._process.stdout.read()
            self._process.stdout.close()
            self._process.wait(timeout=10)
            self._process = None


class RedisProxy:
    """A way to a Redis that can be closed without stopping it."""

    def __init__(self, redis: RedisServer) -> None:
        self._redis = redis
        self._port = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.close()
            if self._pumps:
                await asyncio.wait(self._pumps)
            self._writers.clear()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._redis.port)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while block := await source.read(65536):
                sink.write(block)
        sink.close()


@pytest.fixture(scope="module", name="redis_binary")
def _redis_binary() -> None:
    if shutil.which("redis-server") is None:
        assert os.environ.get("CI") != "true", "CI needs redis-server"
        pytest.skip("redis-server is not on PATH")


@pytest.fixture(name="redis")
def _redis(redis_binary: None, tmp_path: Path) -> Iterator[RedisServer]:  # noqa: ARG001  # skips
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(name="cache_url", params=["memory", "redis"])
def _cache_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else request.getfixturevalue("redis").url


@pytest.fixture(name="cache")
async def _cache(cache_url: str) -> AsyncIterator[Cache]:
    async with open_cache(cache_url, namespace="jam") as cache:
        yield cache


class Source:
    """What is cached: a word, and how often it was loaded."""

    def __init__(self, word: bytes = b"plum") -> None:
        self.word = word
        self.loads = 0
        self.reached = asyncio.Event()
        self.proceed = asyncio.Event()
        self.proceed.set()

    async def load(self) -> bytes:
        self.loads += 1
        word = self.word
        self.reached.set()
        await self.proceed.wait()
        return word


async def test_a_value_is_loaded_once_until_its_tag_is_dropped(cache: Cache) -> None:
    source = Source()

    first = await cache.get("jar", source.load, ttl_s=60, tags=["jar:1", "lists"])
    source.word = b"quince"
    second = await cache.get("jar", source.load, ttl_s=60, tags=["jar:1", "lists"])
    await cache.drop("other")
    third = await cache.get("jar", source.load, ttl_s=60, tags=["jar:1", "lists"])
    await cache.drop("lists")
    fourth = await cache.get("jar", source.load, ttl_s=60, tags=["jar:1", "lists"])

    assert [first, second, third, fourth] == [b"plum", b"plum", b"plum", b"quince"]
    assert (cache.hits, cache.misses, source.loads) == (2, 2, 2)


async def test_clearing_forgets_everything(cache: Cache) -> None:
    source = Source()
    for key in ("tagged", "bare"):
        await cache.get(key, source.load, ttl_s=60, tags=["t"] if key == "tagged" else [])

    await cache.clear()
    source.word = b"quince"

    assert await cache.get("tagged", source.load, ttl_s=60, tags=["t"]) == b"quince"
    assert await cache.get("bare", source.load, ttl_s=60) == b"quince"


async def test_an_empty_value_is_a_value(cache: Cache) -> None:
    source = Source(b"")

    assert [await cache.get("none", source.load, ttl_s=60) for _ in range(2)] == [b"", b""]
    assert source.loads == 1


async def test_a_value_lives_as_long_as_it_was_given(cache: Cache, eventually: Eventually) -> None:
    source = Source()

    async def is_loaded_again() -> bool:
        await cache.get("jar", source.load, ttl_s=0.01)
        return source.loads > 1

    await eventually(is_loaded_again)


async def test_concurrent_misses_load_once(cache: Cache) -> None:
    source = Source()
    source.proceed.clear()

    callers = [asyncio.create_task(cache.get("jar", source.load, ttl_s=60)) for _ in range(50)]
    await source.reached.wait()
    source.proceed.set()

    assert set(await asyncio.gather(*callers)) == {b"plum"}
    assert source.loads == 1


async def test_a_caller_that_gives_up_does_not_take_the_others_along(cache: Cache) -> None:
    source = Source()
    source.proceed.clear()
    first = asyncio.create_task(cache.get("jar", source.load, ttl_s=60))
    await source.reached.wait()
    second = asyncio.create_task(cache.get("jar", source.load, ttl_s=60))
    while cache._flights["jar"].waiting < 2:
        await asyncio.sleep(0)

    first.cancel()
    await asyncio.wait([first])
    source.proceed.set()

    assert await second == b"plum"
    assert source.loads == 1


async def test_a_load_nobody_waits_for_is_cancelled(cache: Cache) -> None:
    source = Source()
    source.proceed.clear()
    ended = asyncio.Event()

    async def load() -> bytes:
        try:
            return await source.load()
        finally:
            ended.set()

    only = asyncio.create_task(cache.get("jar", load, ttl_s=60))
    await source.reached.wait()
    only.cancel()
    await asyncio.wait([only])
    await asyncio.wait_for(ended.wait(), 10)
    source.proceed.set()

    assert await cache.get("jar", source.load, ttl_s=60) == b"plum"
    assert source.loads == 2


async def test_an_error_reaches_everybody_who_waited_and_is_not_kept(cache: Cache) -> None:
    source = Source()
    source.proceed.clear()

    async def fail() -> bytes:
        await source.load()
        raise LookupError("no such jar")

    callers = [asyncio.create_task(cache.get("jar", fail, ttl_s=60)) for _ in range(3)]
    await source.reached.wait()
    source.proceed.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)

    assert [type(error) for error in errors] == [LookupError] * 3
    assert await cache.get("jar", source.load, ttl_s=60) == b"plum"


@pytest.mark.parametrize("forget", ["drop", "clear"])
async def test_a_load_that_races_with_an_invalidation_is_not_kept(cache: Cache, forget: str) -> None:
    source = Source(b"stale")
    source.proceed.clear()
    early = asyncio.create_task(cache.get("jar", source.load, ttl_s=60, tags=["jar:1"]))
    await source.reached.wait()  # it has read the old word, and not stored it yet

    source.word = b"fresh"
    await (cache.drop("jar:1") if forget == "drop" else cache.clear())
    late = asyncio.create_task(cache.get("jar", source.load, ttl_s=60, tags=["jar:1"]))
    while source.loads < 2:  # the late one must not join the early one
        await asyncio.sleep(0)
    source.proceed.set()

    assert (await early, await late) == (b"stale", b"fresh")
    assert await cache.get("jar", source.load, ttl_s=60, tags=["jar:1"]) == b"fresh"
    assert source.loads == 2


async def test_a_load_in_one_replica_that_races_with_an_invalidation_in_another_is_not_kept(
    redis: RedisServer,
) -> None:
    source = Source(b"stale")
    source.proceed.clear()
    async with open_cache(redis.url, namespace="jam") as one, open_cache(redis.url, namespace="jam") as other:
        early = asyncio.create_task(one.get("jar", source.load, ttl_s=60, tags=["jar:1"]))
        await source.reached.wait()
        source.word = b"fresh"
        await other.drop("jar:1")
        source.proceed.set()

        assert await early == b"stale"
        assert await one.get("jar", source.load, ttl_s=60, tags=["jar:1"]) == b"fresh"
        assert await other.get("jar", source.load, ttl_s=60, tags=["jar:1"]) == b"fresh"
        assert source.loads == 2  # and the two replicas share what is kept


async def test_namespaces_do_not_see_each_other(redis: RedisServer) -> None:
    async with open_cache(redis.url, namespace="jam") as jam, open_cache(redis.url, namespace="tea") as tea:
        await jam.get("pot", Source(b"plum").load, ttl_s=60, tags=["t"])
        await tea.get("pot", Source(b"assam").load, ttl_s=60, tags=["t"])
        await tea.clear()

        assert await jam.get("pot", Source(b"quince").load, ttl_s=60, tags=["t"]) == b"plum"


async def test_without_redis_values_are_loaded_and_one_line_is_logged(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cache(redis.url, namespace="jam") as cache:
        source = Source()
        await cache.get("jar", source.load, ttl_s=60)
        redis.stop()

        with caplog.at_level(logging.WARNING, logger="weft.data.redis_store"):
            answers = [await cache.get("jar", source.load, ttl_s=60) for _ in range(20)]
            await cache.drop("jar:1")

    assert answers == [b"plum"] * 20
    assert source.loads == 21
    assert [record.message for record in caplog.records] == ["cache unavailable, loading instead"]


async def test_what_was_dropped_while_redis_was_out_of_reach_is_dropped_when_it_is_back(redis: RedisServer) -> None:
    now_s = 1000.0
    source = Source(b"stale")
    async with RedisProxy(redis) as proxy:
        cache = Cache(RedisStore(proxy.url, namespace="jam", clock=lambda: now_s), namespace="jam")
        await cache.get("jar", source.load, ttl_s=60, tags=["jar:1"])
        await proxy.close()
        source.word = b"fresh"
        await cache.drop("jar:1")
        away = await cache.get("jar", source.load, ttl_s=60, tags=["jar:1"])

        await proxy.open()
        now_s += 60
        back = await cache.get("jar", source.load, ttl_s=60, tags=["jar:1"])
        kept = await cache.get("jar", source.load, ttl_s=60, tags=["jar:1"])
        await cache.close()

    assert [away, back, kept] == [b"fresh"] * 3
    assert source.loads == 3


async def test_a_writer_makes_every_replica_forget_when_and_only_when_it_commits(
    cache_url: str, database: Database, eventually: Eventually
) -> None:
    await relabel(database, "plum")

    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(open_cache(cache_url, namespace="jam", database=database)) for _ in range(2)
        ]
        await asyncio.gather(one.is_following.wait(), other.is_following.wait())
        assert [await label(one, database), await label(other, database)] == [b"plum", b"plum"]

        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await tx.execute(sa.update(jars).values(label="never"))
                await one.invalidate(tx, "jar:1")
                _ = 1 / 0
        misses = one.misses + other.misses
        assert [await label(one, database), await label(other, database)] == [b"plum", b"plum"]
        assert one.misses + other.misses == misses

        async with database.transaction() as tx:
            await tx.execute(sa.update(jars).values(label="quince"))
            await one.invalidate(tx, "jar:1")
        assert await label(one, database) == b"quince"  # the writer sees its own writing at once

        async def the_other_sees_it() -> bool:
            return await label(other, database) == b"quince"

        await eventually(the_other_sees_it)


async def test_replicas_that_may_have_missed_something_forget_everything(
    database: Database, eventually: Eventually
) -> None:
    await relabel(database, "plum")
    async with open_cache("memory://", namespace="jam", database=database) as cache:
        await cache.is_following.wait()
        assert await label(cache, database) == b"plum"

        async with database.transaction() as tx:  # a writer that says nothing: its message is as good as lost
            await tx.execute(sa.update(jars).values(label="quince"))
            await tx.scalar(
                sa.text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
            )

        async def is_seen() -> bool:
            return await label(cache, database) == b"quince"

        await eventually(is_seen)


async def test_more_tags_than_a_notification_holds_forget_everything(
    database: Database, eventually: Eventually
) -> None:
    await relabel(database, "plum")
    async with (
        open_cache("memory://", namespace="jam", database=database) as one,
        open_cache("memory://", namespace="jam", database=database) as other,
    ):
        await asyncio.gather(one.is_following.wait(), other.is_following.wait())
        await label(other, database)

        async with database.transaction() as tx:
            await tx.execute(sa.update(jars).values(label="quince"))
            await one.invalidate(tx, *[f"jar:{number}" for number in range(1000, 3000)])

        async def is_seen() -> bool:
            return await label(other, database) == b"quince"

        await eventually(is_seen)


async def label(cache: Cache, database: Database) -> bytes:
    async def load() -> bytes:
        row = await database.fetch_one(LABEL, jar_id="1")
        assert row is not None
        return str(row["label"]).encode()

    return await cache.get("jar 1", load, ttl_s=60, tags=["jar:1"])


async def relabel(database: Database, word: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(sa.insert(jars).values(jar_id="1", label=word))
