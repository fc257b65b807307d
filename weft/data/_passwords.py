"""A file of passwords that only its owner may read."""

from __future__ import annotations

import json
import secrets
from pathlib import Path


class PasswordFile:
    """Role -> password, in one JSON file of mode 0600, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, role: str) -> str:
        """Return the password of *role*, choosing and keeping one (256 random bits) the first time."""
        passwords = json.loads(self._path.read_text()) if self._path.exists() else {}
        if role not in passwords:
            passwords[role] = secrets.token_urlsafe(32)
            staging = self._path.with_suffix(".new")
            staging.unlink(missing_ok=True)
            staging.touch(mode=0o600)
            staging.write_text(json.dumps(passwords, indent=2))
            staging.replace(self._path)
        return str(passwords[role])
