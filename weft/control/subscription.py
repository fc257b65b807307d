"""What one client asked for of one type and what it was sent; and the messages this is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from google.rpc.code_pb2 import NOT_FOUND
from google.rpc.status_pb2 import Status
from xds_api.envoy.service.discovery.v3.discovery_pb2 import (
    DiscoveryRequest,
    DiscoveryResponse,
    ResourceError,
    ResourceName,
)

from weft.control.resources import Resource, short_type

__all__ = ["Rejection", "Response", "Subscription"]

WILDCARD: Final = "*"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A NACK: the client could not use a response and said why."""

    type_url: str
    version: str
    """Of the response that was refused."""
    names: tuple[str, ...]
    """All resources of that response; which of them was bad is only in the text."""
    message: str


@dataclass(frozen=True, slots=True)
class Response:
    """One `DiscoveryResponse`; `encode` copies the bytes of resources that are shared by all streams."""

    type_url: str
    version: str
    nonce: str
    resources: Mapping[str, Resource]
    missing: tuple[str, ...] = ()
    """Names that were asked for and don't exist. Told (gRFC A88), since a client otherwise waits 15 s to be sure."""

    def encode(self) -> bytes:
        """Return the message on the wire: repeated fields may follow one another in any number of pieces."""
        head = DiscoveryResponse(version_info=self.version, type_url=self.type_url, nonce=self.nonce)
        for name in self.missing:
            text = f"{short_type(self.type_url)} {name!r} does not exist: no service of this mesh has that name"
            error = Status(code=NOT_FOUND, message=text)
            head.resource_errors.append(ResourceError(resource_name=ResourceName(name=name), error_detail=error))
        return b"".join((head.SerializeToString(), *(resource.wire for resource in self.resources.values())))


@dataclass(slots=True)
class Subscription:
    """State of one type on one stream."""

    full_state: bool
    """Whether a response is all there is, so that what it omits is deleted; else it may be a part."""
    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    has_named: bool = False
    """Whether it ever named a resource: from then on an empty list means nothing, and no longer everything."""
    answered: bool = False
    """Whether the wildcard got its answer, which is due even when there is nothing."""
    nonce: str = ""
    """Of the last response; empty before the first."""
    in_flight: Response | None = None
    """Sent, and neither acknowledged nor refused yet."""
    brings_new: bool = False
    """Whether what is in flight has something the client lacked until now."""
    sent: dict[str, Resource] = field(default_factory=dict)
    held: dict[str, Resource] = field(default_factory=dict)
    """What the client acknowledged last; it may have thrown away some of it."""
    told_missing: set[str] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)
    """Of a refused response with several resources: sent once more one by one, so that a bad one holds up no others."""
    doubtful: set[str] = field(default_factory=set)
    """Names a stale request did without: if they are still wanted, they were dropped and asked for again."""

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def is_stale(self, request: DiscoveryRequest) -> bool:
        """Tell whether the client had not seen the last response when it sent *request*."""
        return bool(self.nonce) and request.response_nonce != self.nonce

    def doubt(self, names: set[str]) -> None:
        """Note the *names* of a stale request, which otherwise does not count."""
        self.doubtful |= self.names - names

    def subscribe(self, names: set[str], *, may_be_implicit: bool) -> None:
        """Take *names* for the new subscription.

        What is no longer wanted counts as never sent; what is newly wanted is sent whatever its version.

        Args:
            names: of a request that is not stale.
            may_be_implicit: whether an empty list is the wildcard until something was named.
        """
        implicit = not names and may_be_implicit and not self.has_named
        self.has_named = self.has_named or bool(names)
        wildcard = implicit or WILDCARD in names
        self.answered = self.answered and (self.wildcard or not wildcard)
        self.wildcard = wildcard
        explicit = names - {WILDCARD}
        again = (explicit - self.names) | (self.doubtful & explicit)
        self.names = explicit
        self.doubtful.clear()
        for kept in (self.sent, self.held):
            for name in [name for name in kept if name in again or not self.wants(name)]:
                del kept[name]
        self.told_missing = (self.told_missing & explicit) - again
        self.alone = {name for name in self.alone if self.wants(name)}

    def settle(self, request: DiscoveryRequest) -> Rejection | None:
        """End what is in flight by the ACK or NACK that *request* is, and return the NACK.

        A NACK is `error_detail` present and nothing else: after a partly valid response gRPC sends the new version.
        """
        response, self.in_flight = self.in_flight, None
        if response is None:
            return None
        if request.HasField("error_detail"):
            self._reject(response)
            names = tuple(response.resources)
            return Rejection(response.type_url, response.version, names, request.error_detail.message)
        self.held = dict(response.resources) if self.full_state else {**self.held, **response.resources}
        return None

    def _reject(self, response: Response) -> None:
        """Leave what was refused marked as sent: it goes again when it differs, and never as it is."""
        if not self.full_state and len(response.resources) > 1:
            for name in response.resources:
                self.sent.pop(name, None)
                self.alone.add(name)

    def changed(self, named: Mapping[str, Resource]) -> dict[str, Resource]:
        """Return what the client lacks of *named*, of a type that is sent in parts."""
        pending = sorted(
            name
            for name in (named if self.wildcard else self.names & named.keys())
            if self.sent.get(name) != named[name]
        )
        together = [name for name in pending if name not in self.alone]
        return {name: named[name] for name in together or pending[:1]}

    def send(self, response: Response) -> Response:
        """Count *response* as sent."""
        self.brings_new = not response.resources.keys() <= self.sent.keys()
        self.sent = dict(response.resources) if self.full_state else {**self.sent, **response.resources}
        self.alone -= response.resources.keys()
        self.told_missing.update(response.missing)
        self.answered = True
        self.nonce, self.in_flight = response.nonce, response
        return response
