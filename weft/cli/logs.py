"""`weft logs`: what the replicas of a service wrote, line by line, with their names in front."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from weft.cli.processes import tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from weft.cli.state import State
    from weft.cli.terminal import Terminal

__all__ = ["logs"]

POLL_S: Final = 0.2


def logs(state: State, terminal: Terminal, service: str, *, lines: int, follow: bool) -> int:
    """Print the last *lines* lines of each replica of *service*, or of a process of that name, and then what comes."""
    paths = sorted([*state.logs.glob(f"{service}.log"), *state.logs.glob(f"{service}.*.log")])
    if service == "postgres":
        paths = [state.path / "postgres" / "postgres.log"]
    if not paths:
        known = sorted({path.name.split(".")[0] for path in state.logs.glob("*.log")})
        terminal.fail(f"no logs of {service!r} in {state.logs}; there are {', '.join(known) or 'none'}")
        return 1
    width = max(len(path.stem) for path in paths)
    followers = [_Follower(path, lines) for path in paths]
    try:
        while True:
            for path, line in _new_lines(followers):
                terminal.line(f"{path.stem:<{width}} | {line}")
            if not follow or terminal.is_closed:
                return 0
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return 0


class _Follower:
    """Reads a log as it grows, and from its beginning when it was emptied or replaced."""

    def __init__(self, path: Path, lines: int) -> None:
        self.path = path
        self._first = lines
        self._position: int | None = None
        self._partial = ""

    def read(self) -> Sequence[str]:
        try:
            size = self.path.stat().st_size
            if self._position is None:
                self._position = size
                return tail(self.path, self._first)
            if size < self._position:
                self._position, self._partial = 0, ""
            with self.path.open("rb") as file:
                file.seek(self._position)
                chunk = file.read(size - self._position)
        except FileNotFoundError:
            return ()
        self._position += len(chunk)
        *complete, self._partial = (self._partial + chunk.decode(errors="replace")).split("\n")
        return complete


def _new_lines(followers: Sequence[_Follower]) -> Iterator[tuple[Path, str]]:
    for follower in followers:
        for line in follower.read():
            yield follower.path, line
