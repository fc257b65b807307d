from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.lib.chaos.mesh import ROOT

PATCHES = sorted((ROOT / "tests" / "chaos").glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_every_broken_build_can_still_be_made_and_says_what_has_to_notice_it(patch: Path) -> None:
    done = subprocess.run(
        ["git", "apply", "--check", "-C1", str(patch)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, f"make {patch.name} anew: {done.stderr}"
    assert "has to catch it" in patch.read_text()


def test_there_are_broken_builds_to_show_that_chaos_notices() -> None:
    assert {patch.stem for patch in PATCHES} >= {
        "outbox-before-commit",
        "inbox-unchecked",
        "lease-ignored",
        "sent-before-sending",
    }
