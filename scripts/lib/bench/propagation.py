"""How long after the registry knows of an instance that joins or leaves Envoy and a gRPC client act on it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import Final

from scripts.lib.bench.mesh import mesh
from scripts.lib.bench.processes import ROOT, folder, last_words, running
from scripts.lib.bench.result import BenchFailed, Budget, Effort, Result, measured, p99

__all__ = ["BUDGET", "propagation"]

BUDGET: Final = Budget(limit=200.0, bound="under")
UNLIMITED: Final = {"WEFT_GATEWAY_REQUESTS_PER_S": "1000000", "WEFT_GATEWAY_BURST": "1000000"}
REGISTRIES: Final = {"embedded": "embedded agent", "consul": "Consul"}
NOTES: Final = (
    (
        "p99 of joins and leaves together, from telling the registry to the first answer of the instance that "
        "joined, or the last of the one that left; its check passes from the start, so no interval is part of it"
    ),
    "both callers ask every few milliseconds and share the CPUs with all they measure",
)


def propagation(effort: Effort) -> list[Result]:
    results = _measure("embedded", effort)
    path = os.pathsep.join((os.environ.get("PATH", ""), str(ROOT / "build/consul")))
    if shutil.which("consul", path=path):
        return [*results, *_measure("consul", effort)]
    print("propagation: without Consul, which is neither on PATH nor at build/consul (scripts/lib/install-consul)")
    return results


def _measure(registry: str, effort: Effort) -> list[Result]:
    with folder() as files, mesh(files, "--registry", registry, env=UNLIMITED) as started:
        urls = started.until_ready().urls
        product_id = started.get_json("/v1/products")["products"][0]["productId"]
        env = {
            "BENCH_REGISTRY_URL": urls["registry"],
            "BENCH_XDS_SERVER": urls["xds"],
            "BENCH_GATEWAY_URL": urls["gateway"],
            "BENCH_PRODUCT_ID": product_id,
            "BENCH_CHANGES": str(effort.changes),
            "BENCH_OUTPUT": str(files / "changes.json"),
        }
        # A process of its own: gRPC reads the address of its control plane once in a process.
        command = (sys.executable, "-P", "-m", "scripts.lib.bench.changes")
        with running(command, log=files / "changes.log", env=env) as process:
            if process.wait() != 0:
                raise BenchFailed(f"changes could not be followed\n{last_words(files / 'changes.log')}")
        return _results(REGISTRIES[registry], files / "changes.json")


def _results(registry: str, output: Path) -> list[Result]:
    seen = json.loads(output.read_text())
    results = []
    for caller, changes in seen["callers"].items():
        joins, leaves = changes["joins_ms"], changes["leaves_ms"]
        detail = (
            f"{caller}, {registry}: joins p50 {median(joins):.0f}, max {max(joins):.0f} ms; "
            f"leaves p50 {median(leaves):.0f}, max {max(leaves):.0f} ms; {len(joins)} each; "
            f"{changes['failed']} of {changes['calls']} calls failed meanwhile"
        )
        case = f"{caller}, {registry}"
        samples = [*joins, *leaves]
        results.append(measured("propagation", case, "ms p99", samples, of=p99, budget=BUDGET, notes=(*NOTES, detail)))
    return results
