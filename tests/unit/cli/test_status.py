"""What `weft status` tells of processes."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from weft.cli.status import describe


class Gone:
    """A process that ended since it was found, as PostgreSQL's do when their connection closes."""

    pid = 2**22 - 1

    def children(self) -> list[Any]:
        raise psutil.NoSuchProcess(self.pid)

    def memory_full_info(self) -> Any:
        raise psutil.NoSuchProcess(self.pid)


async def test_a_process_is_measured_without_those_of_its_children_that_end_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(psutil.Process, "children", lambda _: [Gone()])
    mesh: Any = SimpleNamespace(supervisor=SimpleNamespace(processes={}), urls={}, services=list)

    (own,) = (await describe(mesh, "ready"))["processes"]

    assert own["pid"] == os.getpid()
    assert own["rss_bytes"] > 0
