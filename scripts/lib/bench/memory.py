"""What a whole mesh holds in memory, after it has worked a little."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import psutil

from scripts.lib.bench.mesh import RunningMesh, mesh
from scripts.lib.bench.processes import ROOT, folder
from scripts.lib.bench.result import BenchFailed, Budget, Effort, Result, measured
from weft.cli.project import find_project
from weft.cli.state import MeshRecord

__all__ = ["BUDGET", "memory"]

BUDGET: Final = Budget(limit=900.0, bound="under")
BUDGETED_SERVICES: Final = 8
READS: Final = 200


@dataclass(frozen=True, slots=True)
class Share:
    """What one process holds; *is_pss* is False where only its resident size may be read."""

    name: str
    held_bytes: int
    rss_bytes: int
    is_pss: bool


def memory(_: Effort) -> list[Result]:
    with folder() as files, mesh(files) as running:
        record = running.until_ready()
        _use(running)
        shares = _shares(record)
    held: Counter[str] = Counter()
    for share in shares:
        held[share.name] += share.held_bytes
    services = find_project(ROOT).service_names()
    total_mb = sum(held.values()) / 1e6
    notes = [
        (
            "the sum of PSS over all processes, which counts a page that n processes share as 1/n in each; RSS, "
            f"which counts it in full in each, adds up to {sum(share.rss_bytes for share in shares) / 1e6:.0f} MB"
        ),
        "in MB: " + ", ".join(f"{name} {size / 1e6:.0f}" for name, size in held.most_common()),
        f"{len(services)} services ({', '.join(services)}), after {READS} reads through the gateway",
    ]
    if len(services) < BUDGETED_SERVICES:
        each_mb = sum(held[name] for name in services) / 1e6 / len(services)
        expected_mb = total_mb + each_mb * (BUDGETED_SERVICES - len(services))
        notes.append(
            f"the budget is for {BUDGETED_SERVICES} services; with {each_mb:.0f} MB for each that is missing, "
            f"database connections aside, it would be about {expected_mb:.0f} MB"
        )
    if unread := sorted({share.name for share in shares if not share.is_pss}):
        notes.append(f"memory: RSS stands for PSS of {', '.join(unread)}, which are another user's: run as root")
    return [measured("memory", f"{len(services)} services", "MB", [total_mb], budget=BUDGET, notes=notes)]


def _use(running: RunningMesh) -> None:
    """Read through the gateway, fewer times than it lets one client make at once."""
    products = running.get_json("/v1/products")["products"]
    for number in range(READS):
        running.get_json(f"/v1/products/{products[number % len(products)]['productId']}")


def _shares(record: MeshRecord) -> list[Share]:
    """Return the supervisor, and everything below it under the name of the supervised process that started it."""
    names = {each.pid: each.name for each in record.processes}
    supervisor = record.supervisor.find()
    if supervisor is None:
        raise BenchFailed("the mesh ended while it was measured")
    found = [_share("weft", supervisor)]
    for child in supervisor.children(recursive=True):
        line = (names[each.pid] for each in (child, *child.parents()) if each.pid in names)
        found.append(_share(next(line, "others"), child))
    return found


def _share(name: str, process: psutil.Process) -> Share:
    rss_bytes = process.memory_info().rss
    try:
        return Share(name, process.memory_full_info().pss, rss_bytes, is_pss=True)
    except psutil.AccessDenied:
        return Share(name, rss_bytes, rss_bytes, is_pss=False)
