"""One run: shoppers and faults, then healing, then quiet, then evidence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

import aiohttp

from scripts.lib.chaos.brokers import Broker
from scripts.lib.chaos.faults import Breaker, Happened, Outsider
from scripts.lib.chaos.ledgers import Books
from scripts.lib.chaos.mesh import ChaosFailed, Mesh
from scripts.lib.chaos.parts import BROKER, POST
from scripts.lib.chaos.post import Post
from scripts.lib.chaos.progress import Progress
from scripts.lib.chaos.provider import PROVIDER, Provider
from scripts.lib.chaos.quiet import until_quiet
from scripts.lib.chaos.report import Run
from scripts.lib.chaos.schedule import Fault
from scripts.lib.chaos.shelves import administrator, fill, shown
from scripts.lib.chaos.shoppers import Shopper, register
from scripts.lib.chaos.told import Shelf, Told
from weft.cli.state import ProcessRecord

__all__ = ["Plan", "perform"]

QUIET_S: Final = 180.0
"""Longer than the longest wait between two attempts of anything."""
ANSWERED_S: Final = 90.0
FINISH_S: Final = 30.0
"""For a visit that is under way when the time is up; calls wait less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to be."""

    seed: int
    seconds: float
    broker: str
    faults: tuple[Fault, ...]
    shoppers: int


async def perform(plan: Plan, mesh: Mesh, broker: Broker, post: Post, progress: Progress) -> Run:
    """Run *plan* on *mesh*. Raises ChaosFailed when it can't be judged."""
    started = datetime.now(UTC)
    async with aiohttp.ClientSession(mesh.record.gateway_url, connector=aiohttp.TCPConnector(limit=0)) as session:
        provider = Provider.of(mesh, session)
        admin = await administrator(session, mesh)
        shelf, stocked = await fill(admin)
        told = Told()
        people = [await _shopper(number, plan, session, shelf, told) for number in range(plan.shoppers)]
        progress.say(f"{len(people)} shoppers, {len(plan.faults)} faults in {plan.seconds:g} s, seed {plan.seed}")
        happened = await _storm(plan, mesh, broker, {PROVIDER: provider, POST: post}, people, progress)
        progress.say("healed; waiting for quiet")
        healed_s = time.monotonic()
        books = Books(mesh, provider, broker, post)
        await _until_answered(people)
        left = await until_quiet(books.under_way, limit_s=QUIET_S, on_look=progress.waiting)
        resumed = await _resume_stuck(books, mesh)
        if resumed:
            left = await until_quiet(books.under_way, limit_s=QUIET_S, on_look=progress.waiting)
        quiet_s = time.monotonic() - healed_s
        progress.say("asking everything once more")
        await asyncio.gather(*(person.repeat_everything() for person in people))
        await asyncio.gather(*(person.leave() for person in people))
        left = left or await until_quiet(books.under_way, limit_s=QUIET_S, on_look=progress.waiting)
        evidence = await books.evidence(told, stocked, shelf, await shown(admin))
    return Run(
        seed=plan.seed,
        seconds=plan.seconds,
        broker=plan.broker,
        started=started,
        happened=tuple(happened),
        statuses={f"{call} {status or 'no answer'}": count for (call, status), count in told.statuses.items()},
        left=left,
        resumed=resumed,
        quiet_s=quiet_s,
        evidence=evidence,
    )


async def _storm(
    plan: Plan,
    mesh: Mesh,
    broker: Broker,
    outside: Mapping[str, Outsider],
    people: Sequence[Shopper],
    progress: Progress,
) -> Sequence[Happened]:
    """Have *people* shop while things break, for as long as planned; return when all is whole again."""

    def find(name: str) -> ProcessRecord | None:
        if name == BROKER:
            return broker.find(mesh)
        return outside[name].find() if name in outside else mesh.find(name)

    breaker = Breaker(mesh, outside, find=find, on_event=progress.happened)
    over = asyncio.Event()
    try:
        visits = [asyncio.create_task(person.shop(over)) for person in people]
        breaking = asyncio.create_task(breaker.run(plan.faults))
        ending = asyncio.create_task(asyncio.sleep(plan.seconds))
        await asyncio.wait((ending, *visits), return_when=asyncio.FIRST_COMPLETED)  # a visit that ends is a defect
        over.set()
        await breaking
        progress.say("healing")
        await breaker.heal()
        await mesh.until_healed()
        try:
            async with asyncio.timeout(FINISH_S):
                await asyncio.gather(*visits)
        except TimeoutError as error:
            raise ChaosFailed(f"visits do not end {FINISH_S:g} s after all was healed") from error
    finally:
        breaker.resume()
    return breaker.happened


async def _shopper(number: int, plan: Plan, session: aiohttp.ClientSession, shelf: Shelf, told: Told) -> Shopper:
    name = f"shopper-{number}"
    user_id, shop = await register(session, name)
    chance = Random(f"{plan.seed} {name}")  # noqa: S311  # to be repeated, not to be secret
    return Shopper(name, user_id, shop, shelf, told, chance)


async def _until_answered(people: Sequence[Shopper]) -> None:
    """Have everybody ask until they know what became of all they did."""
    deadline_s = time.monotonic() + ANSWERED_S
    while open_ones := [person for person in people if person.has_open_questions]:
        if time.monotonic() > deadline_s:
            raise ChaosFailed(f"{len(open_ones)} shoppers get no answers after {ANSWERED_S:g} s of good weather")
        await asyncio.gather(*(person.settle() for person in open_ones))


async def _resume_stuck(books: Books, mesh: Mesh) -> Mapping[str, str]:
    """Do what a person would: look why sagas are stuck, and resume them now that the reason is gone."""
    stuck = await books.stuck()
    for saga_id in stuck:
        await mesh.weft("saga", "resume", saga_id)
    return stuck
