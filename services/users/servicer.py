"""`shop.users.v1.UsersService`."""

from __future__ import annotations

import secrets
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from shop.users.v1 import events_pb2
from shop.users.v1 import users_pb2 as pb
from shop.users.v1 import users_pb2_grpc as pb_grpc

from services import paging
from services.masks import InvalidFields, changed_fields
from services.users import store
from services.users.domain import (
    CHANGEABLE,
    SESSION_LIFETIME,
    BadCredentials,
    Channel,
    RefreshTokenInvalid,
    Role,
    Session,
    State,
    User,
    UserDeactivated,
    UserNotFound,
    Verdict,
    judge,
)
from weft.call import caller
from weft.errors import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from google.protobuf.message import Message

    from services.users.passwords import Passwords
    from services.users.peers import Holders
    from weft.data import Database, Transaction
    from weft.events import Outbox
    from weft.security import TokenIssuer
    from weft.server import Context

__all__ = ["UsersServicer"]

PAGE_SIZE: Final = 50
ADMIN_CONTACTS: Final = 100
"""The contract's: most administrators who are told of something."""
EXPIRED_PER_LOGIN: Final = 20
"""Expired sessions deleted with each new one: more go than come, and no login waits for many."""

_PAGES: Final = "users"
_STATES: Final = {
    State.ACTIVE: pb.User.STATE_ACTIVE,
    State.DEACTIVATED: pb.User.STATE_DEACTIVATED,
    State.DELETED: pb.User.STATE_DELETED,
}
_CHANNELS: Final[dict[str, pb.Channel.ValueType]] = {
    Channel.EMAIL: pb.CHANNEL_EMAIL,
    Channel.SMS: pb.CHANNEL_SMS,
    Channel.PUSH: pb.CHANNEL_PUSH,
}
_CHANNEL_NAMES: Final = {value: channel for channel, value in _CHANNELS.items()}


class UsersServicer(pb_grpc.UsersServiceServicer):
    """Translates; see the contract for what each method promises."""

    def __init__(
        self, database: Database, passwords: Passwords, issuer: TokenIssuer, outbox: Outbox, holders: Holders
    ) -> None:
        self._database = database
        self._holders = holders
        self._outbox = outbox
        self._passwords = passwords
        self._issuer = issuer

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        password_hash = await self._passwords.hash(request.password)
        now = datetime.now(UTC)
        user = User(
            user_id=uuid4(),
            email=request.email,
            first_name=request.first_name,
            last_name=request.last_name,
            create_time=now,
            update_time=now,
        )
        async with self._database.transaction() as tx:
            await store.add_user(tx, user, password_hash)
            tokens = await self._start_session(tx, user, now=now)
            await self._outbox.publish(tx, events_pb2.UserRegistered(user_id=str(user.user_id)))
        return pb.RegisterResponse(user=_message(user), tokens=tokens)

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        found = await store.find_credentials(self._database, request.email)
        user, stored = found or (None, None)
        matches = await self._passwords.verify(stored, request.password)
        if user is None or stored is None or not matches or user.state is not State.ACTIVE:
            raise BadCredentials
        newer = await self._passwords.hash(request.password) if self._passwords.is_outdated(stored) else None
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            try:
                user = (await (store.lock_user if newer else store.share_user)(tx, user.user_id)).require_active()
            except (UserNotFound, UserDeactivated):  # while the password was being checked
                raise BadCredentials from None
            if newer:
                await store.save_user(tx, user, password_hash=newer)
            await store.delete_expired(tx, limit=EXPIRED_PER_LOGIN, now=now)
            tokens = await self._start_session(tx, user, now=now)
        return pb.LoginResponse(user=_message(user), tokens=tokens)

    async def Refresh(self, request: pb.RefreshRequest, context: Context) -> pb.RefreshResponse:
        now = datetime.now(UTC)
        tokens = None
        # No error leaves this block: what ends a stolen session must be committed.
        async with self._database.transaction() as tx:
            stored, user = await store.lock_token(tx, request.refresh_token) or (None, None)
            if stored is not None and user is not None:
                verdict = judge(stored, user.state, now=now)
                if verdict is Verdict.END_SESSION:
                    await store.end_session(tx, stored.session_id, now=now)
                elif verdict is Verdict.ROTATE:
                    tokens = self._new_tokens(user, now=now)
                    await store.use_token(tx, request.refresh_token, now=now)
                    await store.add_token(
                        tx, stored.session_id, tokens.refresh_token, expire_time=now + SESSION_LIFETIME, now=now
                    )
        if tokens is None:
            raise RefreshTokenInvalid
        return pb.RefreshResponse(tokens=tokens)

    async def Logout(self, request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        async with self._database.transaction() as tx:
            await store.end_session_of(tx, request.refresh_token, now=datetime.now(UTC))
        return pb.LogoutResponse()

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        user = await store.get_user(self._database, _caller_id())
        return pb.GetMeResponse(user=_message(user.require_active()))

    async def UpdateMe(self, request: pb.UpdateMeRequest, context: Context) -> pb.UpdateMeResponse:
        given = request.user
        values = {
            "first_name": given.first_name,
            "last_name": given.last_name,
            "language": given.preferences.language,
            "marketing": given.preferences.marketing,
            "channels": _channels(given.preferences.channels),
            "phone_number": given.preferences.phone_number,
            "push_token": given.preferences.push_token,
        }
        populated = [name for name, value in values.items() if value]
        fields = changed_fields(request.update_mask.paths, populated, CHANGEABLE)
        async with self._database.transaction() as tx:
            user = (await store.lock_user(tx, _caller_id())).require_active()
            user = user.change({name: values[name] for name in fields}, now=datetime.now(UTC))
            await store.save_user(tx, user)
        return pb.UpdateMeResponse(user=_message(user))

    async def DeleteMe(self, request: pb.DeleteMeRequest, context: Context) -> pb.DeleteMeResponse:
        user = await store.get_account(self._database, _caller_id())
        async with self._database.transaction() as tx:
            administrators = await store.lock_administrators(tx) if Role.ADMIN in user.roles else []
            with suppress(UserNotFound):  # it is deleted already
                user = await store.lock_user(tx, user.user_id)
                await store.delete_user(tx, user.delete(administrators, now=datetime.now(UTC)))
                await self._outbox.publish(tx, events_pb2.UserDeleted(user_id=str(user.user_id)))
        return pb.DeleteMeResponse()

    async def ExportMe(self, request: pb.ExportMeRequest, context: Context) -> AsyncIterator[pb.ExportMeResponse]:
        user = await store.get_user(self._database, _caller_id())
        yield _exported("users", _message(user))
        for session in await store.list_sessions(self._database, user.user_id):
            yield _exported("users", _session(session))
        async with aclosing(self._holders.export(str(user.user_id))) as held:
            async for service, item in held:
                yield pb.ExportMeResponse(service=service, item=item)
        yield pb.ExportMeResponse(complete=True)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        size = request.page_size or PAGE_SIZE
        after = paging.decode(request.page_token, _PAGES, paging.time, UUID) if request.page_token else None
        users = await store.list_page(self._database, size + 1, after)
        token = ""
        if len(users) > size:
            last = users[size - 1]
            token = paging.encode(_PAGES, last.create_time, last.user_id)
        return pb.ListUsersResponse(users=map(_message, users[:size]), next_page_token=token)

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        user = await store.get_account(self._database, UUID(request.user_id))
        return pb.GetUserResponse(user=_message(user))

    async def DeactivateUser(self, request: pb.DeactivateUserRequest, context: Context) -> pb.DeactivateUserResponse:
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            user = (await store.lock_user(tx, UUID(request.user_id))).deactivate(now=now)
            await store.save_user(tx, user)
            await store.end_sessions(tx, user.user_id, now=now)
        return pb.DeactivateUserResponse(user=_message(user))

    async def GetContact(self, request: pb.GetContactRequest, context: Context) -> pb.GetContactResponse:
        user = await store.get_user(self._database, UUID(request.user_id))
        return pb.GetContactResponse(contact=_contact(user))

    async def ListAdminContacts(
        self, request: pb.ListAdminContactsRequest, context: Context
    ) -> pb.ListAdminContactsResponse:
        administrators = await store.list_administrators(self._database, ADMIN_CONTACTS)
        return pb.ListAdminContactsResponse(contacts=map(_contact, administrators))

    async def _start_session(self, tx: Transaction, user: User, *, now: datetime) -> pb.Tokens:
        session = Session(session_id=uuid4(), user_id=user.user_id, create_time=now, expire_time=now + SESSION_LIFETIME)
        tokens = self._new_tokens(user, now=now)
        await store.add_session(tx, session, tokens.refresh_token)
        return tokens

    def _new_tokens(self, user: User, *, now: datetime) -> pb.Tokens:
        access = self._issuer.issue(str(user.user_id), user.roles)
        return pb.Tokens(
            access_token=access.text,
            access_expire_time=_timestamp(access.expire_time),
            refresh_token=secrets.token_urlsafe(32),
            refresh_expire_time=_timestamp(now + SESSION_LIFETIME),
        )


def _caller_id() -> UUID:
    """Return whose account the caller's token is for. Raises UserNotFound for a token that is not about an account."""
    subject = caller().subject
    try:
        return UUID(subject)
    except ValueError:
        raise UserNotFound(subject) from None


def _channels(given: Sequence[pb.Channel.ValueType]) -> list[Channel]:
    """Raises InvalidFields, naming each that is none."""
    violations = [
        Violation(f"user.preferences.channels[{index}]", "must be one of the channels of the contract")
        for index, channel in enumerate(given)
        if channel not in _CHANNEL_NAMES
    ]
    if violations:
        raise InvalidFields("the preferences name a channel that is none", violations=violations)
    return [Channel(_CHANNEL_NAMES[channel]) for channel in given]


def _contact(user: User) -> pb.Contact:
    return pb.Contact(
        user_id=str(user.user_id), email=user.email, first_name=user.first_name, preferences=_preferences(user)
    )


def _message(user: User) -> pb.User:
    return pb.User(
        user_id=str(user.user_id),
        email=user.email,
        first_name=user.first_name,
        last_name=user.last_name,
        roles=user.roles,
        state=_STATES[user.state],
        preferences=_preferences(user),
        create_time=_timestamp(user.create_time),
        update_time=_timestamp(user.update_time),
    )


def _session(session: Session) -> pb.Session:
    return pb.Session(
        create_time=_timestamp(session.create_time),
        expire_time=_timestamp(session.expire_time),
        end_time=_timestamp(session.end_time) if session.end_time else None,
    )


def _exported(service: str, message: Message) -> pb.ExportMeResponse:
    response = pb.ExportMeResponse(service=service)
    response.item.Pack(message)
    return response


def _preferences(user: User) -> pb.Preferences:
    return pb.Preferences(
        language=user.language,
        marketing=user.marketing,
        channels=[_CHANNELS[channel] for channel in user.channels],
        phone_number=user.phone_number,
        push_token=user.push_token,
    )


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
