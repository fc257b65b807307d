"""Accounts and sessions: what they are, and what may happen to them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from weft.errors import AlreadyExists, FailedPrecondition, NotFound, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

__all__ = [
    "CHANGEABLE",
    "SESSION_LIFETIME",
    "BadCredentials",
    "Channel",
    "EmailTaken",
    "LastAdministrator",
    "RefreshTokenInvalid",
    "Role",
    "Session",
    "State",
    "StoredToken",
    "User",
    "UserDeactivated",
    "UserNotFound",
    "Verdict",
    "judge",
    "normalized_email",
    "token_digest",
]

SESSION_LIFETIME: Final = timedelta(days=30)
"""A session ends this long after its last refresh."""

CHANGEABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "first_name": ("first_name",),
    "last_name": ("last_name",),
    "preferences": ("language", "marketing", "channels", "phone_number", "push_token"),
    "preferences.language": ("language",),
    "preferences.marketing": ("marketing",),
    "preferences.channels": ("channels",),
    "preferences.phone_number": ("phone_number",),
    "preferences.push_token": ("push_token",),
}
"""Path in an update mask -> fields of `User` it stands for."""

DEFAULT_LANGUAGE: Final = "en"


class EmailTaken(AlreadyExists):
    """An account has this e-mail address."""

    def __init__(self) -> None:
        super().__init__("an account with this e-mail address exists")


class BadCredentials(Unauthenticated):
    """Unknown address, wrong password or deactivated account: one answer, which tells nobody what accounts exist."""

    def __init__(self) -> None:
        super().__init__("the e-mail address or the password is wrong")


class RefreshTokenInvalid(Unauthenticated):
    """Unknown, used, expired, or of a session that has ended."""

    def __init__(self) -> None:
        super().__init__("the refresh token is not valid; log in again")


class UserNotFound(NotFound):
    """No account has this id."""

    def __init__(self, user_id: object) -> None:
        super().__init__(f"no user {user_id}", user_id=user_id)


class UserDeactivated(FailedPrecondition):
    """The account may not be used any more."""

    def __init__(self, user_id: UUID) -> None:
        super().__init__(f"user {user_id} is deactivated", user_id=user_id)


class LastAdministrator(FailedPrecondition):
    """Nobody else could run the shop."""

    def __init__(self) -> None:
        super().__init__("nobody else could run the shop; it needs another administrator first")


class State(StrEnum):
    """Whether an account may be used."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    DELETED = "deleted"
    """For good. What is left of it says that there was one, and nothing of whose it was."""


class Role(StrEnum):
    """What an account may do; the contract names the methods each is needed for."""

    USER = "user"
    ADMIN = "admin"


class Channel(StrEnum):
    """A way to tell a user something."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One account. Its password is no part of it."""

    user_id: UUID
    email: str = field(repr=False)
    """As it was given; see `normalized_email`. Empty where the account is deleted, as are the names."""
    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    roles: tuple[str, ...] = (Role.USER,)
    state: State = State.ACTIVE
    language: str = DEFAULT_LANGUAGE
    marketing: bool = False
    channels: tuple[str, ...] = (Channel.EMAIL,)
    """How to tell the user of orders; at least one."""
    phone_number: str = field(default="", repr=False)
    """E.164; empty where none is known, as the push token."""
    push_token: str = field(default="", repr=False)
    create_time: datetime
    update_time: datetime

    def require_active(self) -> User:
        """Return the account itself. Raises UserDeactivated."""
        if self.state is not State.ACTIVE:
            raise UserDeactivated(self.user_id)
        return self

    @property
    def is_administrator(self) -> bool:
        """Tell whether its user may run the shop."""
        return self.state is State.ACTIVE and Role.ADMIN in self.roles

    def change(self, values: Mapping[str, Any], *, now: datetime) -> User:
        """Return the account with new *values* of the fields in `CHANGEABLE`.

        An empty language is the default one, and no channel is the default one too.
        """
        if "language" in values:
            values = {**values, "language": values["language"] or DEFAULT_LANGUAGE}
        if "channels" in values:
            values = {**values, "channels": tuple(values["channels"]) or (Channel.EMAIL,)}
        return replace(self, **values, update_time=now)

    def deactivate(self, *, now: datetime) -> User:
        """Return the account barred from logging in; one that already is stays as it is."""
        return self if self.state is State.DEACTIVATED else replace(self, state=State.DEACTIVATED, update_time=now)

    def delete(self, administrators: Collection[User], *, now: datetime) -> User:
        """Return what is left of the account, which nobody can tell any more whose it was.

        Args:
            administrators: All who may run the shop; the account may be among them. Only looked at for one who may.
            now: When it is deleted.

        Raises:
            LastAdministrator: nobody else may run the shop.
        """
        if self.is_administrator and all(each.user_id == self.user_id for each in administrators):
            raise LastAdministrator
        return User(
            user_id=self.user_id,
            email="",
            first_name="",
            last_name="",
            roles=(),
            state=State.DELETED,
            create_time=self.create_time,
            update_time=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a login starts. All refresh tokens that follow from one login belong to one session."""

    session_id: UUID
    user_id: UUID
    create_time: datetime
    expire_time: datetime
    """When its newest refresh token expires."""
    end_time: datetime | None = None
    """When it was ended before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """What is known of a refresh token; of its text only the digest is kept."""

    session_id: UUID
    expire_time: datetime
    used: bool
    session_ended: bool


class Verdict(Enum):
    """What a refresh token that somebody presents is good for."""

    ROTATE = "new tokens, this one is used up"
    REFUSE = "nothing"
    END_SESSION = "it was used before, so either its first or its second user stole it"


def judge(token: StoredToken | None, state: State, *, now: datetime) -> Verdict:
    """Return what follows from presenting *token*, None if it is unknown, for an account in *state*.

    Source: RFC 9700 section 4.14.2, refresh token rotation.
    """
    if token is None or token.session_ended:
        return Verdict.REFUSE
    if token.used:
        return Verdict.END_SESSION
    if token.expire_time <= now or state is not State.ACTIVE:
        return Verdict.REFUSE
    return Verdict.ROTATE


def normalized_email(email: str) -> str:
    """Return what all spellings of one address have in common.

    Source: Unicode 15 section 3.13, D146, compatibility caseless matching.
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", email).casefold()).casefold()
    return unicodedata.normalize("NFKD", folded).strip()


def token_digest(token: str) -> bytes:
    """Return what is stored of a refresh token. One with 256 random bits needs no salt and no stretching."""
    return sha256(token.encode()).digest()
