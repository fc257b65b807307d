"""Under load, parts die and come back: what callers see of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.mesh.acceptance.conftest import Mesh, until
from tests.mesh.acceptance.purchases import Person

WORKERS = 4  # one who is starved of two CPUs by starting processes would see a timeout, not a failed mesh


@dataclass
class Load:
    """Shoppers who look at one product, again and again, and one who searches."""

    answers: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> dict[str, int]:
        return {answer: count for answer, count in self.answers.items() if answer != "200"}

    async def goes_on_for(self, calls: int) -> None:
        """Return after that many more answers."""
        end = self.answers.total() + calls
        async with asyncio.timeout(60):
            while self.answers.total() < end:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def shoppers(mesh: Mesh) -> AsyncIterator[Load]:
    load = Load()
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(f"http://{mesh.address}", timeout=timeout) as session:
        async with session.get("/v1/products") as answer:
            product_ids = [product["productId"] for product in (await answer.json())["products"]]

        async def shop(path: str) -> None:
            while True:
                try:
                    async with session.get(path) as answer:
                        await answer.read()
                        load.answers[str(answer.status)] += 1
                except aiohttp.ClientError as error:
                    load.answers[type(error).__name__] += 1

        ids = "&".join(f"productIds={product_id}" for product_id in product_ids[:3])
        paths = [f"/v1/products/{product_ids[number % len(product_ids)]}" for number in range(WORKERS)]
        tasks = [asyncio.create_task(shop(path)) for path in (*paths, f"/v1/products:batchGet?{ids}")]
        try:
            await load.goes_on_for(100)
            yield load
            await load.goes_on_for(100)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def later(condition: Any, what: str) -> None:
    """Wait in a thread, while the load goes on."""
    await asyncio.to_thread(until, condition, what)


async def test_one_of_two_replicas_killed_fails_no_read(mesh: Mesh) -> None:
    await later(lambda: len(mesh.passing("catalog")) == 2, "both replicas are there")
    before = mesh.passing("catalog")

    async with shoppers(mesh) as load:
        await asyncio.to_thread(mesh.kill, "catalog")
        await load.goes_on_for(500)
        await later(lambda: len(mesh.passing("catalog") - before) == 1, "the replacement is there")

    assert load.failures == {}
    await later(lambda: len(mesh.passing("catalog")) == 2, "both replicas are there")


async def test_a_rolling_restart_fails_no_read(mesh: Mesh) -> None:
    await later(lambda: len(mesh.passing("catalog")) == 2, "both replicas are there")
    before = mesh.passing("catalog")

    async with shoppers(mesh) as load:
        await asyncio.to_thread(mesh.weft, "restart", "catalog")
        await load.goes_on_for(300)

    assert load.failures == {}
    await later(lambda: len(mesh.passing("catalog")) == 2, "both replicas are there")
    assert mesh.passing("catalog").isdisjoint(before)


async def test_without_the_control_plane_calls_go_on_and_it_catches_up(mesh: Mesh) -> None:
    await later(lambda: len(mesh.passing("catalog")) == 2, "both replicas are there")

    async with aiohttp.ClientSession() as session, shoppers(mesh) as load:
        anna = await Person.registered(session, mesh)
        product_id = await Person.administrator(session, mesh).offer(units=1000)
        pid = next(each["pid"] for each in mesh.status()["processes"] if each["name"] == "control")

        os.kill(pid, signal.SIGKILL)
        orders = [(await anna.place(product_id)).status for _ in range(50)]
        await load.goes_on_for(500)
        await later(lambda: is_followed(mesh), "the gateway and both channels of orders have found the new one")
        # What changes from now on, the new control plane has to tell: the old replicas leave, others come.
        await asyncio.to_thread(mesh.weft, "restart", "catalog")
        orders += [(await anna.place(product_id)).status for _ in range(50)]

    assert load.failures == {}
    assert Counter(orders) == {200: 100}


async def test_a_registry_restarted_empty_is_filled_again_and_fails_no_call(mesh: Mesh) -> None:
    await later(lambda: len(mesh.passing("catalog")) == 2, "both replicas are there")
    before = {service: mesh.passing(service) for service in ("users", "catalog", "orders")}

    async with aiohttp.ClientSession() as session, shoppers(mesh) as load:
        anna = await Person.registered(session, mesh)
        product_id = await Person.administrator(session, mesh).offer(units=1000)

        await asyncio.to_thread(mesh.kill, "registry")
        orders = [(await anna.place(product_id)).status for _ in range(20)]
        await later(lambda: is_filled(mesh, before), "every instance is registered again")
        orders += [(await anna.place(product_id)).status for _ in range(20)]

    assert load.failures == {}
    assert Counter(orders) == {200: 40}


def is_followed(mesh: Mesh) -> bool:
    """Tell whether all data planes have opened a stream to the control plane that runs now."""
    lines = [
        json.loads(line) for line in (mesh.state / "logs" / "control.log").read_text().splitlines() if line[:1] == "{"
    ]
    starts = [at for at, line in enumerate(lines) if line["message"] == "serving xDS"]
    opened = [line["xds.data_plane"] for line in lines[starts[-1] :] if line["message"] == "ADS stream opened"]
    return len(starts) > 1 and Counter(opened) >= Counter(envoy=1, grpc=2)


def is_filled(mesh: Mesh, before: dict[str, set[str]]) -> bool:
    try:
        return {service: mesh.passing(service) for service in before} == before
    except AssertionError:  # `weft status` while the registry is away
        return False
