"""A short storm over the whole shop: everything that `scripts/chaos` does, once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SEED = 11
"""Of faults that reach an order from all sides within twenty seconds."""


def test_a_short_storm_breaks_no_promise(tmp_path: Path) -> None:
    report = tmp_path / "chaos.json"
    command = [
        sys.executable,
        "-P",
        "-m",
        "scripts.lib.chaos",
        "--seconds",
        "20",
        "--seed",
        str(SEED),
        "--shoppers",
        "4",
    ]

    done = subprocess.run(
        [*command, "--json", str(report)], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["held"]
    assert found["counts"]["confirmed"] > 0
    assert found["counts"]["cancelled"] > 0
    # A promise that was held against nothing would say nothing.
    assert [each["rule"] for each in found["findings"] if not each["checked"]] == []
    assert any(each["outcome"].startswith("done") for each in found["faults"])
