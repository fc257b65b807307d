"""The documentation page: one file, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Final

__all__ = ["PATH", "content_security_policy", "page"]

PATH: Final = "/docs"
_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def page() -> str:
    """Return the HTML that shows `/openapi.json` of the host it came from."""
    return (resources.files(__package__) / "docs.html").read_text()


@cache
def content_security_policy() -> str:
    """Return a policy that allows the page's own script and style, by their hashes, and calls to its own host."""
    hashes = {kind: b64encode(sha256(text.encode()).digest()).decode() for kind, text in _INLINE.findall(page())}
    return (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
