"""An idempotent request has its effect once, whatever arrives how often, and no failure is remembered as done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from weft import errors
from weft.data import Database, RequestIdReused, RequestKey, UniqueViolation, forget_answers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
    Handler = Callable[[Database], Awaitable[bytes]]

jars = sa.table("jars", sa.column("jar_id", sa.Text), sa.column("label", sa.Text), sa.column("shelf", sa.Integer))
next_jar_id = sa.cast(sa.func.gen_random_uuid(), sa.Text)
KEY = RequestKey(method="/jam.v1.Jam/Fill", caller="ann", request_id="r-1", fingerprint=b"plum")


async def fill(database: Database) -> bytes:
    """Add a jar, whatever there is already, and answer with its id."""
    async with database.transaction() as tx:
        added = sa.insert(jars).values(jar_id=next_jar_id, label="plum").returning(jars.c.jar_id)
        return str(await tx.scalar(added)).encode()


async def answer(database: Database, handler: Handler = fill, key: RequestKey = KEY) -> bytes:
    """Do what the server's pipeline does."""
    async with database.answering(key) as request:
        if request.answer is None:
            await request.complete(await handler(database))
    assert request.answer is not None
    return request.answer


async def count(database: Database, table: str = "jars") -> int:
    async with database.transaction() as tx:
        return int(await tx.scalar(sa.select(sa.func.count()).select_from(sa.table(table))))


async def test_a_repeat_is_answered_alike_and_has_no_second_effect(database: Database) -> None:
    first = await answer(database)
    second = await answer(database)

    assert first == second
    assert await count(database) == 1


async def test_an_answer_that_is_not_final_is_not_kept_but_its_effect_is(database: Database) -> None:
    async with database.answering(KEY) as request:
        await fill(database)
        await request.forgo()

    assert await count(database) == 1
    assert await count(database, "request_answers") == 0
    final = await answer(database)
    assert await answer(database) == final
    assert await count(database) == 2


async def test_without_an_answer_nothing_more_joins(database: Database) -> None:
    async with database.answering(KEY) as request:
        await request.forgo()
        await fill(database)  # a transaction of its own

        with pytest.raises(RuntimeError, match="over"):
            await request.complete(b"late")
    assert await count(database) == 1


async def test_fifty_concurrent_equal_requests_have_one_effect_and_one_answer(
    database_url: str, database: Database
) -> None:
    start = asyncio.Event()

    async def caller(replica: Database) -> bytes:
        await start.wait()
        return await answer(replica)

    async with Database.open(database_url, pool_size=10) as one, Database.open(database_url, pool_size=10) as other:
        callers = [asyncio.create_task(caller(replica)) for replica in (one, other) * 25]
        start.set()
        answers = await asyncio.gather(*callers)

    assert len(answers) == 50
    assert len(set(answers)) == 1
    assert await count(database) == 1


async def test_the_same_id_with_another_body_is_refused(database: Database) -> None:
    await answer(database)

    with pytest.raises(RequestIdReused) as refused:
        await answer(database, key=RequestKey(**_fields(KEY) | {"fingerprint": b"quince"}))

    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert await count(database) == 1


async def test_the_same_id_with_another_body_is_refused_while_the_first_is_under_way(database: Database) -> None:
    claimed, proceed = asyncio.Event(), asyncio.Event()

    async def slow(database: Database) -> bytes:
        filled = await fill(database)
        claimed.set()
        await proceed.wait()
        return filled

    first = asyncio.create_task(answer(database, slow))
    await claimed.wait()
    second = asyncio.create_task(answer(database, key=RequestKey(**_fields(KEY) | {"fingerprint": b"quince"})))
    await _until_blocked(database)
    proceed.set()

    with pytest.raises(RequestIdReused):
        await second
    assert await first == await answer(database)
    assert await count(database) == 1


@pytest.mark.parametrize("other", [{"method": "/jam.v1.Jam/Sell"}, {"caller": "ben"}, {"request_id": "r-2"}])
async def test_requests_that_differ_in_any_part_of_their_key_are_different(
    database: Database, other: dict[str, str]
) -> None:
    await answer(database)
    await answer(database, key=RequestKey(**_fields(KEY) | other))

    assert await count(database) == 2


async def test_a_failure_is_not_stored_as_done(database: Database) -> None:
    async def failing(database: Database) -> bytes:
        await fill(database)
        raise errors.FailedPrecondition("out of sugar")

    with pytest.raises(errors.FailedPrecondition):
        await answer(database, failing)
    assert (await count(database), await count(database, "request_answers")) == (0, 0)

    assert await answer(database) == await answer(database)
    assert await count(database) == 1


async def test_a_failing_commit_is_reported_and_not_stored(database: Database) -> None:
    async def two_on_one_shelf(database: Database) -> bytes:
        async with database.transaction() as tx:
            await tx.execute(sa.insert(jars).values(jar_id="1", label="plum", shelf=7))
            await tx.execute(sa.insert(jars).values(jar_id="2", label="plum", shelf=7))
        return b"filled"

    with pytest.raises(UniqueViolation) as refused:
        await answer(database, two_on_one_shelf)

    assert refused.value.constraint == "jars_shelf_unique"
    assert (await count(database), await count(database, "request_answers")) == (0, 0)


async def test_a_cancelled_request_leaves_nothing_and_can_be_repeated(database: Database) -> None:
    filled = asyncio.Event()

    async def stuck(database: Database) -> bytes:
        await fill(database)
        filled.set()
        await asyncio.Event().wait()
        return b""

    task = asyncio.create_task(answer(database, stuck))
    await filled.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert (await count(database), await count(database, "request_answers")) == (0, 0)
    assert await answer(database) == await answer(database)


async def test_leaving_without_completing_rolls_back_and_says_so(database: Database) -> None:
    with pytest.raises(RuntimeError, match="without complete"):
        async with database.answering(KEY):
            await fill(database)

    assert (await count(database), await count(database, "request_answers")) == (0, 0)


async def test_answers_outlive_the_process(database_url: str, database: Database) -> None:
    first = await answer(database)

    async with Database.open(database_url) as restarted:
        second = await answer(restarted)

    assert first == second
    assert await count(database) == 1


async def test_a_request_without_a_transaction_is_remembered_too(database: Database) -> None:
    calls: list[int] = []

    async def compute(_database: Database) -> bytes:
        calls.append(1)
        return b""

    assert await answer(database, compute) == b""
    assert await answer(database, compute) == b""
    assert len(calls) == 1


async def test_all_blocks_of_a_request_are_one_transaction(database: Database) -> None:
    async def two_blocks(database: Database) -> bytes:
        await fill(database)
        with pytest.raises(UniqueViolation):
            await _add_twice(database)
        await asyncio.gather(fill(database), fill(database))
        raise errors.Internal("at the very end")

    async def same_but_well(database: Database) -> bytes:
        with pytest.raises(errors.Internal):
            await two_blocks(database)
        return b"3 jars"

    with pytest.raises(errors.Internal):
        await answer(database, two_blocks)
    assert await count(database) == 0

    assert await answer(database, same_but_well) == b"3 jars"
    assert await count(database) == 3  # the block that failed undid itself only


async def test_the_first_block_may_fail_and_the_request_succeed(database: Database) -> None:
    async def second_attempt(database: Database) -> bytes:
        with pytest.raises(UniqueViolation):
            await _add_twice(database)
        return await fill(database)

    assert await answer(database, second_attempt) == await answer(database)
    assert await count(database) == 1


async def test_an_independent_transaction_stands_whatever_becomes_of_the_request(database: Database) -> None:
    async def failing(database: Database) -> bytes:
        await fill(database)
        async with database.transaction(independent=True) as tx:
            await tx.execute(sa.insert(jars).values(jar_id="kept", label="sloe"))
        raise errors.Internal("after all")

    with pytest.raises(errors.Internal):
        await answer(database, failing)

    assert await count(database) == 1


async def test_work_left_in_the_background_does_not_join_a_finished_request(database: Database) -> None:
    answered = asyncio.Event()
    left: list[asyncio.Task[bytes]] = []

    async def later() -> bytes:
        await answered.wait()
        return await fill(database)

    async def leave_work(_database: Database) -> bytes:
        left.append(asyncio.create_task(later()))
        return b"soon"

    await answer(database, leave_work)
    answered.set()
    await left[0]

    assert await count(database) == 1


async def test_a_block_left_running_when_its_request_fails_is_rolled_back(
    database_url: str,
    database: Database,  # noqa: ARG001  # has the table
) -> None:
    inside, proceed = asyncio.Event(), asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def linger(database: Database, jar_id: str) -> None:
        async with database.transaction() as tx:
            await tx.execute(sa.insert(jars).values(jar_id=jar_id, label="plum"))
            inside.set()
            await proceed.wait()

    async def fail_early(database: Database) -> bytes:
        left.extend(asyncio.create_task(linger(database, jar_id)) for jar_id in "12")
        await inside.wait()
        raise errors.Internal("early")

    async with Database.open(database_url, pool_size=1, checkout_s=1) as small:
        with pytest.raises(errors.Internal):
            await answer(small, fail_early)
        proceed.set()
        ends = await asyncio.gather(*left, return_exceptions=True)

        assert [type(end) for end in ends] == [RuntimeError, RuntimeError]
        assert await count(small) == 0  # and the one connection is free again


async def test_a_handler_that_catches_everything_still_yields_to_the_answer_of_another(database: Database) -> None:
    inside = asyncio.Barrier(2)

    async def stubborn(database: Database) -> bytes:
        await inside.wait()
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(fill(database))
        except Exception:  # noqa: BLE001  # as careless handlers do
            return b"caught"
        return task.result()

    one, other = await asyncio.gather(answer(database, stubborn), answer(database, stubborn))

    assert one == other != b"caught"
    assert await count(database) == 1


async def test_waiting_for_a_concurrent_request_is_bounded(database_url: str, database: Database) -> None:
    claimed, proceed = asyncio.Event(), asyncio.Event()

    async def slow(database: Database) -> bytes:
        filled = await fill(database)
        claimed.set()
        await proceed.wait()
        return filled

    first = asyncio.create_task(answer(database, slow))
    await claimed.wait()
    async with Database.open(database_url, lock_s=0.05) as impatient:
        with pytest.raises(errors.Aborted) as refused:
            await answer(impatient)
    proceed.set()

    assert refused.value.reason == "CONFLICT"
    assert await first == await answer(database)


async def test_an_expired_answer_counts_no_more(database_url: str, database: Database) -> None:
    async with Database.open(database_url, answer_ttl_s=-1) as forgetful:
        first = await answer(forgetful)

    second = await answer(database)

    assert first != second
    assert await count(database) == 2


async def test_expired_answers_are_deleted_by_many_replicas_at_once(database_url: str, database: Database) -> None:
    async with Database.open(database_url, answer_ttl_s=-1) as forgetful:
        for number in range(25):
            await answer(forgetful, key=RequestKey(**_fields(KEY) | {"request_id": str(number)}))
    kept = await answer(database)

    deleted = await asyncio.gather(*[database.delete_expired_answers(limit=10) for _ in range(4)])
    deleted.append(await database.delete_expired_answers())

    assert sum(deleted) == 25
    assert max(deleted[:4]) <= 10
    assert await answer(database) == kept
    assert await count(database, "request_answers") == 1


async def test_expired_answers_are_deleted_without_being_asked_for(
    database_url: str, database: Database, eventually: Eventually
) -> None:
    async with Database.open(database_url, answer_ttl_s=-1, sweep_s=0.001) as forgetful:
        await answer(forgetful)

        await eventually(lambda: _is_empty(database, "request_answers"))


async def _is_empty(database: Database, table: str) -> bool:
    return await count(database, table) == 0


async def _add_twice(database: Database) -> None:
    async with database.transaction() as tx:
        for _ in range(2):
            await tx.execute(sa.insert(jars).values(jar_id="again", label="plum"))


async def _until_blocked(database: Database) -> None:
    """Return once somebody waits for another transaction to end."""
    waiting = sa.text("SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
    async with asyncio.timeout(10):
        while True:
            async with database.transaction() as tx:
                if await tx.scalar(waiting):
                    return


def _fields(key: RequestKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in ("method", "caller", "request_id", "fingerprint")}


async def test_answers_to_somebody_and_those_that_name_them_can_be_forgotten(database: Database) -> None:
    async def names_ann(_: Database) -> bytes:
        return b"\x0a\x03ann\xff"

    async def names_nobody(_: Database) -> bytes:
        return b""

    theirs = replace(KEY, caller="bob")
    about_them = replace(KEY, caller="bob", request_id="r-2")
    await answer(database)
    await answer(database, names_nobody, theirs)
    await answer(database, names_ann, about_them)

    async with database.transaction() as tx:
        assert await forget_answers(tx, about="ann") == 2
        assert await forget_answers(tx, about="ann") == 0

    async with database.answering(theirs) as request:
        assert request.answer == b""
    await answer(database)
    assert await count(database) == 2, "forgotten requests count as new"
