"""What can go wrong between this process and the registry."""

from __future__ import annotations


class RegistryError(Exception):
    """The registry did not do what it was asked."""


class RegistryUnavailable(RegistryError):
    """The registry's fault, or the network's: no connection, no answer in time, a 5xx, 429 or unreadable answer."""


class RegistryRefused(RegistryError):
    """Our fault: the registry understood the request and refused it (4xx); repeating it unchanged will not help."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the registry refused ({status}): {reason}")
        self.status = status
        self.reason = reason
