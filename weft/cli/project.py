"""The project `weft` works on: the nearest pyproject.toml with a table `[tool.weft]`."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Project", "ProjectError", "find_project"]


class ProjectError(Exception):
    """There is no project here, or it is described wrongly; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What `[tool.weft]` says.

    Attributes:
        services: package, and folder below the root, whose subfolders with a `__main__.py` are services.
        image: descriptor image, relative to the root; the generated stubs lie beside it.
        local: module with `prepare` and `fill` for a mesh on this machine, if any (`weft.cli.local`).
        commands: name -> module of what the project adds to `weft` (`weft.cli.added`).
    """

    root: Path
    services: str
    image: Path
    local: str | None
    commands: Mapping[str, str] = field(default_factory=dict)

    @property
    def image_path(self) -> Path:
        return self.root / self.image

    @property
    def services_path(self) -> Path:
        return self.root / self.services

    def service_names(self) -> tuple[str, ...]:
        """Return the mesh names of the services, sorted."""
        return tuple(sorted(entry.parent.name for entry in self.services_path.glob("*/__main__.py")))

    def has_database(self, service: str) -> bool:
        """Tell whether *service* keeps data: it has migrations."""
        return (self.services_path / service / "migrations").is_dir()

    def module(self, service: str) -> str:
        return f"{self.services.replace('/', '.')}.{service}.__main__"

    def import_path(self) -> dict[str, str]:
        """Return the environment in which Python finds the project and its generated stubs."""
        return {"PYTHONPATH": os.pathsep.join(map(str, (self.root, self.image_path.parent)))}

    def make_importable(self) -> None:
        """Put the project and its generated stubs on the import path, after what is installed."""
        for folder in (self.root, self.image_path.parent):
            if str(folder) not in sys.path:
                sys.path.append(str(folder))


def find_project(start: Path) -> Project:
    """Return the project *start* lies in, else the one this installation of weft runs from.

    Raises:
        ProjectError: neither exists, or `[tool.weft]` lacks `services` or `image`.
    """
    for folder in (*_upwards(start.resolve()), *_upwards(Path(__file__).resolve().parents[2])):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        try:
            table = tomllib.loads(path.read_text()).get("tool", {}).get("weft")
        except tomllib.TOMLDecodeError as error:
            raise ProjectError(f"{path}: {error}") from error
        if table is None:
            continue
        if missing := [key for key in ("services", "image") if not isinstance(table.get(key), str)]:
            raise ProjectError(f"{path}: [tool.weft] does not say {' and '.join(missing)}")
        commands = table.get("commands", {})
        if not isinstance(commands, dict) or not all(isinstance(module, str) for module in commands.values()):
            raise ProjectError(f"{path}: [tool.weft.commands] does not name a module for each command")
        return Project(
            root=folder,
            services=table["services"],
            image=Path(table["image"]),
            local=table.get("local"),
            commands=commands,
        )
    raise ProjectError(f"no pyproject.toml with a table [tool.weft] in {start} or above")


def _upwards(folder: Path) -> tuple[Path, ...]:
    return folder, *folder.parents
