"""What a project adds to `weft`: commands that use a mesh that runs.

    [tool.weft.commands]
    lend = "example.commands.lending"   # `weft lend …`

The module has two words about itself and two functions, see `AddedCommand`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weft.cli.project import ProjectError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from weft.cli.project import Project
    from weft.cli.state import State
    from weft.cli.terminal import Terminal

__all__ = ["AddedCommand", "CommandContext", "CommandFailed", "load_added", "run_added"]


class CommandFailed(Exception):
    """The command could not do what it was asked; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext:
    """What a project's command is given beside its arguments."""

    terminal: Terminal
    state: Path
    """The mesh's directory."""
    gateway_url: str | None
    """Of the mesh that runs from there, `http://127.0.0.1:8080`; None where none runs."""


class AddedCommand(Protocol):
    """A module that `[tool.weft.commands]` names."""

    HELP: str
    """What it does, in a few words after the command's name."""
    EXAMPLES: Sequence[str]
    """Whole command lines, at least one."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own; `--state` is there."""

    def run(self, options: argparse.Namespace, context: CommandContext) -> int:
        """Do it; return the exit code: 0 done, 1 failed. Raises CommandFailed where a line says it all."""


def load_added(project: Project, name: str) -> AddedCommand:
    """Import the module of the project's command *name*.

    Raises:
        ProjectError: it can't be imported, or lacks something.
    """
    project.make_importable()
    module = project.commands[name]
    try:
        added: AddedCommand = importlib.import_module(module)
    except ImportError as error:
        raise ProjectError(f"weft {name}: {module} can't be imported: {error}") from error
    if missing := [each for each in ("HELP", "EXAMPLES", "add_arguments", "run") if not hasattr(added, each)]:
        raise ProjectError(f"weft {name}: {module} has no {' and no '.join(missing)}")
    return added


def run_added(options: argparse.Namespace, state: State, terminal: Terminal) -> int:
    """Run the project's command that *options* hold; return the exit code."""
    record = state.read()
    is_running = record is not None and record.supervisor.find() is not None
    gateway_url = record.gateway_url if record is not None and is_running else None
    added: AddedCommand = options.added
    try:
        return added.run(options, CommandContext(terminal=terminal, state=state.path, gateway_url=gateway_url))
    except CommandFailed as error:
        terminal.fail(str(error))
        return 1
