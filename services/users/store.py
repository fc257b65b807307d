"""Accounts and sessions as rows. The transaction is the caller's; reads without one are hot and run outside any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Integer, Text, Uuid, bindparam, delete, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.users.domain import (
    EmailTaken,
    Session,
    State,
    StoredToken,
    User,
    UserNotFound,
    normalized_email,
    token_digest,
)
from services.users.tables import EMAIL_UNIQUE, refresh_tokens, sessions, users
from weft.data import UniqueViolation, forget_answers, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from weft.data import Database, Transaction

__all__ = [
    "add_session",
    "add_token",
    "add_user",
    "delete_expired",
    "delete_user",
    "end_session",
    "end_session_of",
    "end_sessions",
    "find_credentials",
    "get_account",
    "get_user",
    "list_administrators",
    "list_page",
    "list_sessions",
    "lock_administrators",
    "lock_token",
    "lock_user",
    "make_user",
    "save_user",
    "share_user",
    "use_token",
]

_USER: Final = (
    users.c.user_id,
    users.c.email,
    users.c.first_name,
    users.c.last_name,
    users.c.roles,
    users.c.state,
    users.c.language,
    users.c.marketing,
    users.c.channels,
    users.c.phone_number,
    users.c.push_token,
    users.c.create_time,
    users.c.update_time,
)
_SESSION: Final = (
    sessions.c.session_id,
    sessions.c.user_id,
    sessions.c.create_time,
    sessions.c.expire_time,
    sessions.c.end_time,
)
_ORDER: Final = (users.c.create_time.desc(), users.c.user_id.desc())
_LIMIT: Final = bindparam("limit", type_=Integer)

# As text and not as parameters, here and below: only then may every plan use the indexes.
_NOT_DELETED: Final = text("state <> 'deleted'")
_ADMINISTRATOR: Final = text("roles @> '{admin}' AND state = 'active'")

_BY_ID: Final = prepare(select(*_USER).where(users.c.user_id == bindparam("user_id")))
_BY_EMAIL: Final = prepare(
    select(*_USER, users.c.password_hash).where(users.c.normalized_email == bindparam("normalized_email", type_=Text))
)
_SESSIONS: Final = prepare(
    select(*_SESSION)
    .where(sessions.c.user_id == bindparam("user_id", type_=Uuid))
    .order_by(sessions.c.create_time.desc(), sessions.c.session_id)
)
_FIRST_PAGE: Final = prepare(select(*_USER).where(_NOT_DELETED).order_by(*_ORDER).limit(_LIMIT))
_NEXT_PAGE: Final = prepare(
    select(*_USER)
    .where(
        _NOT_DELETED,
        tuple_(users.c.create_time, users.c.user_id)
        < tuple_(bindparam("create_time", type_=DateTime(timezone=True)), bindparam("user_id", type_=Uuid)),
    )
    .order_by(*_ORDER)
    .limit(_LIMIT)
)
_ADMINISTRATORS: Final = prepare(
    select(*_USER).where(_ADMINISTRATOR).order_by(users.c.create_time, users.c.user_id).limit(_LIMIT)
)


async def get_user(database: Database, user_id: UUID) -> User:
    """Raises UserNotFound, also where the account is deleted."""
    user = await get_account(database, user_id)
    if user.state is State.DELETED:
        raise UserNotFound(user_id)
    return user


async def get_account(database: Database, user_id: UUID) -> User:
    """Return an account, or what is left of one. Raises UserNotFound where there never was one."""
    row = await database.fetch_one(_BY_ID, user_id=user_id)
    if row is None:
        raise UserNotFound(user_id)
    return _user(row)


async def find_credentials(database: Database, email: str) -> tuple[User, str] | None:
    """Return the account with this address in any spelling, and its password's hash."""
    row = await database.fetch_one(_BY_EMAIL, normalized_email=normalized_email(email))
    return None if row is None else (_user(row), row["password_hash"])


async def list_page(database: Database, limit: int, after: tuple[Any, ...] | None) -> list[User]:
    """Return up to *limit* accounts, none deleted, newest first, that come after *after*: create_time, user_id."""
    if after is None:
        rows = await database.fetch_all(_FIRST_PAGE, limit=limit)
    else:
        rows = await database.fetch_all(_NEXT_PAGE, limit=limit, create_time=after[0], user_id=after[1])
    return [_user(row) for row in rows]


async def list_administrators(database: Database, limit: int) -> list[User]:
    """Return up to *limit* administrators who are active, oldest account first."""
    return [_user(row) for row in await database.fetch_all(_ADMINISTRATORS, limit=limit)]


async def add_user(tx: Transaction, user: User, password_hash: str) -> None:
    """Raises EmailTaken."""
    try:
        await tx.execute(insert(users).values(_new_row(user, password_hash)))
    except UniqueViolation as error:
        if error.constraint == EMAIL_UNIQUE:
            raise EmailTaken from error
        raise


async def make_user(tx: Transaction, user: User, password_hash: str) -> bool:
    """Add *user* unless an account with its address exists; tell whether it was added."""
    added = upsert(users).values(_new_row(user, password_hash)).on_conflict_do_nothing(constraint=EMAIL_UNIQUE)
    return await tx.execute(added) == 1


async def lock_user(tx: Transaction, user_id: UUID) -> User:
    """Read an account that nobody else may change until the transaction ends. Raises UserNotFound if it is deleted."""
    row = await tx.first(select(*_USER).where(users.c.user_id == user_id, _NOT_DELETED).with_for_update())
    if row is None:
        raise UserNotFound(user_id)
    return _user(row)


async def lock_administrators(tx: Transaction) -> list[User]:
    """Read all active administrators, whom nobody else may change until the transaction ends.

    In the order of their ids: of those who lock all of them, one is first, and nobody waits in a circle.
    """
    rows = await tx.all(select(*_USER).where(_ADMINISTRATOR).order_by(users.c.user_id).with_for_update())
    return [_user(row) for row in rows]


async def share_user(tx: Transaction, user_id: UUID) -> User:
    """Read an account that stays as it is until the transaction ends; others may do the same.

    Raises:
        UserNotFound: also where it is deleted.
    """
    row = await tx.first(select(*_USER).where(users.c.user_id == user_id, _NOT_DELETED).with_for_update(read=True))
    if row is None:
        raise UserNotFound(user_id)
    return _user(row)


async def save_user(tx: Transaction, user: User, *, password_hash: str | None = None) -> None:
    """Write what can change of *user*, and the password's hash if given."""
    values = _changing(user)
    if password_hash is not None:
        values["password_hash"] = password_hash
    await tx.execute(update(users).where(users.c.user_id == user.user_id).values(values))


async def delete_user(tx: Transaction, user: User) -> None:
    """Write what is left of a locked account; its password, its sessions and the stored answers that tell of it go."""
    values = {"email": user.email, "normalized_email": None, "password_hash": ""}
    await tx.execute(update(users).where(users.c.user_id == user.user_id).values(_changing(user) | values))
    await tx.execute(delete(sessions).where(sessions.c.user_id == user.user_id))
    await forget_answers(tx, about=str(user.user_id))


async def list_sessions(database: Database, user_id: UUID) -> list[Session]:
    """Return the sessions of an account, newest first: those that go on, and those that ended until they expire."""
    return [Session(**row) for row in await database.fetch_all(_SESSIONS, user_id=user_id)]


async def add_session(tx: Transaction, session: Session, token: str) -> None:
    """Add a session and its first refresh token."""
    row = {
        "session_id": session.session_id,
        "user_id": session.user_id,
        "create_time": session.create_time,
        "expire_time": session.expire_time,
    }
    await tx.execute(insert(sessions).values(row))
    await tx.execute(insert(refresh_tokens).values(_token_row(session.session_id, token, session.expire_time)))


async def lock_token(tx: Transaction, token: str) -> tuple[StoredToken, User] | None:
    """Read a refresh token and its user, and hold the token's session until the transaction ends.

    Token and session are both locked, and so both read as the last holder of the lock left them.
    """
    columns = (refresh_tokens.c.session_id, refresh_tokens.c.expire_time, refresh_tokens.c.use_time)
    statement = (
        select(*_USER, *columns, sessions.c.end_time)
        .join_from(refresh_tokens, sessions)
        .join(users)
        .where(refresh_tokens.c.digest == token_digest(token))
        .with_for_update(of=(sessions, refresh_tokens))
    )
    row = await tx.first(statement)
    if row is None:
        return None
    *user, session_id, expire_time, use_time, end_time = tuple(row)
    stored = StoredToken(
        session_id=session_id, expire_time=expire_time, used=use_time is not None, session_ended=end_time is not None
    )
    return stored, _user(user)


async def use_token(tx: Transaction, token: str, *, now: datetime) -> None:
    await tx.execute(update(refresh_tokens).where(refresh_tokens.c.digest == token_digest(token)).values(use_time=now))


async def add_token(tx: Transaction, session_id: UUID, token: str, *, expire_time: datetime, now: datetime) -> None:
    """Add a refresh token to a session, which lives as long as it; forget those of the session that have expired."""
    of_session = refresh_tokens.c.session_id == session_id
    await tx.execute(delete(refresh_tokens).where(of_session, refresh_tokens.c.expire_time <= now))
    await tx.execute(insert(refresh_tokens).values(_token_row(session_id, token, expire_time)))
    await tx.execute(update(sessions).where(sessions.c.session_id == session_id).values(expire_time=expire_time))


async def end_session(tx: Transaction, session_id: UUID, *, now: datetime) -> None:
    await tx.execute(
        update(sessions).where(sessions.c.session_id == session_id, sessions.c.end_time.is_(None)).values(end_time=now)
    )


async def end_session_of(tx: Transaction, token: str, *, now: datetime) -> None:
    """End the session that a refresh token, used or not, belongs to, if there is one."""
    session_id = select(refresh_tokens.c.session_id).where(refresh_tokens.c.digest == token_digest(token))
    await tx.execute(
        update(sessions)
        .where(sessions.c.session_id == session_id.scalar_subquery(), sessions.c.end_time.is_(None))
        .values(end_time=now)
    )


async def end_sessions(tx: Transaction, user_id: UUID, *, now: datetime) -> None:
    """End all sessions of an account."""
    await tx.execute(
        update(sessions).where(sessions.c.user_id == user_id, sessions.c.end_time.is_(None)).values(end_time=now)
    )


async def delete_expired(tx: Transaction, *, limit: int, now: datetime) -> int:
    """Delete up to *limit* sessions that have expired, leaving those another transaction holds; return how many."""
    expired = (
        select(sessions.c.session_id)
        .where(sessions.c.expire_time <= now)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return await tx.execute(delete(sessions).where(sessions.c.session_id.in_(expired)))


def _user(row: Iterable[Any]) -> User:
    (
        user_id,
        email,
        first_name,
        last_name,
        roles,
        state,
        language,
        marketing,
        channels,
        phone_number,
        push_token,
        create_time,
        update_time,
        *_,
    ) = row
    return User(
        user_id=user_id,
        email=email,
        first_name=first_name,
        last_name=last_name,
        roles=tuple(roles),
        state=State(state),
        language=language,
        marketing=marketing,
        channels=tuple(channels),
        phone_number=phone_number,
        push_token=push_token,
        create_time=create_time,
        update_time=update_time,
    )


def _new_row(user: User, password_hash: str) -> Mapping[str, object]:
    return {
        "user_id": user.user_id,
        "email": user.email,
        "normalized_email": normalized_email(user.email),
        "password_hash": password_hash,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "roles": list(user.roles),
        "state": user.state.value,
        **_preferences(user),
        "create_time": user.create_time,
        "update_time": user.update_time,
    }


def _changing(user: User) -> dict[str, object]:
    return {
        "first_name": user.first_name,
        "last_name": user.last_name,
        "roles": list(user.roles),
        "state": user.state.value,
        **_preferences(user),
        "update_time": user.update_time,
    }


def _preferences(user: User) -> Mapping[str, object]:
    return {
        "language": user.language,
        "marketing": user.marketing,
        "channels": list(user.channels),
        "phone_number": user.phone_number,
        "push_token": user.push_token,
    }


def _token_row(session_id: UUID, token: str, expire_time: datetime) -> Mapping[str, object]:
    return {"digest": token_digest(token), "session_id": session_id, "expire_time": expire_time}
