from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import jwt
import pytest
from argon2 import PasswordHasher
from google.protobuf.field_mask_pb2 import FieldMask
from shop.users.v1 import users_pb2 as pb

from services.users.__main__ import ensure_admin
from tests.mesh.services.calls import KEY, outcome, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.mesh.services.conftest import Users

RIGHT = "correct horse"


def login_request(email: str = "ada@example.com", password: str = RIGHT) -> pb.LoginRequest:
    return pb.LoginRequest(email=email, password=password)


async def refresh(users: Users, token: str) -> Any:
    return await users.calls.Refresh(pb.RefreshRequest(refresh_token=token))


async def at_once(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Start all *calls* from one event; return their outcomes."""
    start = asyncio.Event()

    async def run(call: Callable[[], Awaitable[Any]]) -> Any:
        await start.wait()
        return await outcome(call())

    tasks = [asyncio.create_task(run(call)) for call in calls]
    start.set()
    return await asyncio.gather(*tasks)


async def test_registering_answers_the_account_and_its_first_session(users: Users) -> None:
    before = datetime.now(UTC)

    response = await users.given("Ada@Example.com")

    user = response.user
    assert (user.email, user.first_name, user.last_name) == ("Ada@Example.com", "Ada", "Lovelace")
    assert (list(user.roles), user.state) == (["user"], pb.User.STATE_ACTIVE)
    assert (user.preferences.language, user.preferences.marketing) == ("en", False)
    assert before <= user.create_time.ToDatetime(UTC) == user.update_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert (await refresh(users, response.tokens.refresh_token)).tokens.access_token


async def test_an_access_token_says_who_for_a_quarter_of_an_hour(users: Users) -> None:
    response = await users.given()
    token = response.tokens.access_token

    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, KEY.private.public_key(), algorithms=["ES256"], audience="weft")

    assert (header["alg"], header["kid"]) == ("ES256", KEY.key_id)
    assert (claims["sub"], claims["roles"]) == (response.user.user_id, ["user"])
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert claims["exp"] == response.tokens.access_expire_time.seconds


async def test_a_refresh_token_ends_after_thirty_days(users: Users) -> None:
    response = await users.given()

    lifetime = response.tokens.refresh_expire_time.ToDatetime(UTC) - response.user.create_time.ToDatetime(UTC)

    assert lifetime == timedelta(days=30)


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@EXAMPLE.COM", "\uff21da@example.com"])
async def test_an_address_belongs_to_one_account_in_any_spelling(users: Users, email: str) -> None:
    await users.given("Ada@example.com")

    error = await refusal(users.given(email))

    assert (error.code, error.reason) == ("ALREADY_EXISTS", "EMAIL_TAKEN")
    assert email not in str(error)
    assert await users.rows("select 1 from users") == [(1,)]


async def test_of_twenty_registrations_of_one_address_at_once_exactly_one_wins(users: Users) -> None:
    outcomes = await at_once(*[users.given] * 20)

    assert outcomes.count("EMAIL_TAKEN") == 19
    assert len(await users.rows("select user_id from users")) == 1
    assert len(await users.rows("select session_id from sessions")) == 1


async def test_a_password_has_eight_characters_or_more(users: Users) -> None:
    error = await refusal(users.given(password="1234567"))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [violation.field for violation in error.violations] == ["password"]


async def test_the_address_may_be_spelled_differently_at_login(users: Users) -> None:
    registered = await users.given("Ada@Example.com")

    response = await users.calls.Login(login_request("ada@EXAMPLE.com"))

    assert response.user == registered.user
    assert response.tokens.refresh_token != registered.tokens.refresh_token


async def test_a_failed_login_says_and_does_the_same_whatever_is_wrong(users: Users) -> None:
    await users.given()
    barred = await users.given("barred@example.com")
    await users.as_admin().DeactivateUser(pb.DeactivateUserRequest(user_id=barred.user.user_id))
    attempts = [
        login_request(password="battery staple"),
        login_request(email="nobody@example.com"),
        login_request(email="barred@example.com"),
        login_request(email="barred@example.com", password="battery staple"),
    ]

    seen = []
    for attempt in attempts:
        before = users.hasher.verified
        error = await refusal(users.calls.Login(attempt))
        seen.append((error.code, error.reason, str(error), error.metadata, users.hasher.verified - before))

    assert seen[0][:2] == ("UNAUTHENTICATED", "BAD_CREDENTIALS")
    assert seen[0][-1] == 1  # the hash of a password was computed
    assert seen == [seen[0]] * 4


async def test_a_login_renews_a_hash_made_with_other_parameters(users: Users) -> None:
    await users.given()
    old = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(RIGHT)
    await users.rows("update users set password_hash = :old returning 1", old=old)

    await users.calls.Login(login_request())

    [(new,)] = await users.rows("select password_hash from users")
    assert not users.passwords.is_outdated(new)
    assert (await users.calls.Login(login_request())).user.first_name == "Ada"


async def test_a_refresh_gives_new_tokens_and_uses_the_old_one_up(users: Users) -> None:
    first = (await users.given()).tokens

    second = (await refresh(users, first.refresh_token)).tokens
    third = (await refresh(users, second.refresh_token)).tokens

    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert len({first.access_token, second.access_token, third.access_token}) == 3


async def test_using_a_refresh_token_again_ends_its_session_for_good_and_no_other(users: Users) -> None:
    stolen = (await users.given()).tokens.refresh_token
    other = (await users.calls.Login(login_request())).tokens.refresh_token
    rightful = (await refresh(users, stolen)).tokens.refresh_token

    reused = await refusal(refresh(users, stolen))

    assert (reused.code, reused.reason) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    for token in (rightful, stolen, rightful):
        assert (await refusal(refresh(users, token))).reason == "REFRESH_TOKEN_INVALID"
    assert (await refresh(users, other)).tokens.refresh_token


async def test_of_refreshes_with_one_token_at_once_exactly_one_wins_and_the_session_ends(users: Users) -> None:
    token = (await users.given()).tokens.refresh_token

    outcomes = await at_once(*[lambda: refresh(users, token)] * 5)

    won = [each for each in outcomes if each != "REFRESH_TOKEN_INVALID"]
    assert len(won) == 1
    assert (await refusal(refresh(users, won[0].tokens.refresh_token))).reason == "REFRESH_TOKEN_INVALID"


async def test_an_expired_refresh_token_is_refused(users: Users) -> None:
    token = (await users.given()).tokens.refresh_token
    await users.rows("update refresh_tokens set expire_time = now() - interval '1 second' returning 1")

    error = await refusal(refresh(users, token))

    assert error.reason == "REFRESH_TOKEN_INVALID"


@pytest.mark.parametrize("token", ["x", "x" * 256, "\u00e9"])
async def test_an_unknown_refresh_token_is_refused(users: Users, token: str) -> None:
    error = await refusal(refresh(users, token))

    assert (error.code, error.reason) == ("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    assert token not in str(error) or len(token) == 1


async def test_of_tokens_and_passwords_only_digests_are_stored(users: Users) -> None:
    tokens = (await users.given()).tokens

    stored = str(
        await users.rows(
            "select users::text, sessions::text, refresh_tokens::text from users, sessions, refresh_tokens"
        )
    )

    assert tokens.refresh_token not in stored
    assert RIGHT not in stored
    assert "$argon2id$" in stored


async def test_expired_sessions_are_deleted_a_few_at_each_login(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    await users.rows(
        "insert into sessions select gen_random_uuid(), cast(:user_id as uuid), now(), now() - interval '1 day'"
        " from generate_series(1, 30) returning 1",
        user_id=user_id,
    )

    left = []
    for _ in range(2):
        await users.calls.Login(login_request())
        left.append((await users.rows("select count(*) from sessions where expire_time < now()"))[0][0])

    assert left == [10, 0]
    assert len(await users.rows("select 1 from sessions")) == 3


async def test_a_refresh_forgets_the_expired_tokens_of_its_session(users: Users) -> None:
    token = (await users.given()).tokens.refresh_token
    for _ in range(3):
        token = (await refresh(users, token)).tokens.refresh_token
    await users.rows("update refresh_tokens set expire_time = now() where use_time is not null returning 1")

    await refresh(users, token)

    assert len(await users.rows("select 1 from refresh_tokens")) == 2


async def test_logout_ends_the_session_of_any_of_its_tokens(users: Users) -> None:
    used = (await users.given()).tokens.refresh_token
    current = (await refresh(users, used)).tokens.refresh_token

    await users.calls.Logout(pb.LogoutRequest(refresh_token=used))

    assert (await refusal(refresh(users, current))).reason == "REFRESH_TOKEN_INVALID"


async def test_logging_out_again_or_with_an_unknown_token_answers_the_same(users: Users) -> None:
    token = (await users.given()).tokens.refresh_token

    answers = [
        await users.calls.Logout(pb.LogoutRequest(refresh_token=each)) for each in (token, token, "never given out")
    ]

    assert answers == [pb.LogoutResponse()] * 3


async def test_a_user_sees_their_own_account(users: Users) -> None:
    registered = await users.given()

    response = await users.as_user(registered.user.user_id).GetMe(pb.GetMeRequest())

    assert response.user == registered.user


async def test_without_a_token_there_is_no_own_account(users: Users) -> None:
    error = await refusal(users.calls.GetMe(pb.GetMeRequest()))

    assert error.code == "UNAUTHENTICATED"


@pytest.mark.parametrize("subject", [str(uuid4()), "a robot"])
async def test_a_token_of_somebody_without_an_account_finds_none(users: Users, subject: str) -> None:
    error = await refusal(users.as_user(subject).GetMe(pb.GetMeRequest()))

    assert (error.code, error.reason) == ("NOT_FOUND", "USER_NOT_FOUND")


async def test_a_mask_says_what_changes(users: Users) -> None:
    registered = (await users.given()).user
    me = users.as_user(registered.user_id)
    new = pb.User(first_name="Augusta", last_name="King", preferences=pb.Preferences(language="de", marketing=True))

    changed = (
        await me.UpdateMe(
            pb.UpdateMeRequest(user=new, update_mask=FieldMask(paths=["last_name", "preferences.language"]))
        )
    ).user

    assert (changed.first_name, changed.last_name) == ("Ada", "King")
    assert (changed.preferences.language, changed.preferences.marketing) == ("de", False)
    assert changed.update_time.ToDatetime() > registered.update_time.ToDatetime()
    assert (await me.GetMe(pb.GetMeRequest())).user == changed


async def test_without_a_mask_all_that_is_set_changes(users: Users) -> None:
    me = users.as_user((await users.given()).user.user_id)

    changed = (
        await me.UpdateMe(
            pb.UpdateMeRequest(user=pb.User(first_name="Augusta", preferences=pb.Preferences(marketing=True)))
        )
    ).user

    assert (changed.first_name, changed.last_name) == ("Augusta", "Lovelace")
    assert (changed.preferences.language, changed.preferences.marketing) == ("en", True)


async def test_preferences_as_a_whole_are_replaced(users: Users) -> None:
    me = users.as_user((await users.given()).user.user_id)
    await me.UpdateMe(pb.UpdateMeRequest(user=pb.User(preferences=pb.Preferences(language="de", marketing=True))))

    changed = (
        await me.UpdateMe(
            pb.UpdateMeRequest(user=pb.User(first_name="No"), update_mask=FieldMask(paths=["preferences"]))
        )
    ).user

    assert (changed.preferences.language, changed.preferences.marketing) == ("en", False)
    assert changed.first_name == "Ada"


@pytest.mark.parametrize("path", ["email", "roles", "state", "user_id", "preferences.owner", "nonsense"])
async def test_a_mask_with_another_field_changes_nothing(users: Users, path: str) -> None:
    me = users.as_user((await users.given()).user.user_id)
    request = pb.UpdateMeRequest(user=pb.User(first_name="Augusta"), update_mask=FieldMask(paths=["first_name", path]))

    error = await refusal(me.UpdateMe(request))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert [violation.field for violation in error.violations] == ["updateMask.paths[1]"]
    assert (await me.GetMe(pb.GetMeRequest())).user.first_name == "Ada"


async def test_a_repeated_change_is_answered_as_the_first_time(users: Users) -> None:
    me = users.as_user((await users.given()).user.user_id)
    request = pb.UpdateMeRequest(user=pb.User(first_name="Augusta"), request_id="change-1")

    first = await me.UpdateMe(request)
    await me.UpdateMe(pb.UpdateMeRequest(user=pb.User(first_name="Ada")))
    second = await me.UpdateMe(request)

    assert second == first
    assert (await me.GetMe(pb.GetMeRequest())).user.first_name == "Ada"


async def test_deactivation_bars_login_refresh_and_the_account_itself(users: Users) -> None:
    registered = await users.given()
    request = pb.DeactivateUserRequest(user_id=registered.user.user_id)

    deactivated = (await users.as_admin().DeactivateUser(request)).user

    me = users.as_user(registered.user.user_id)
    assert deactivated.state == pb.User.STATE_DEACTIVATED
    assert (await refusal(refresh(users, registered.tokens.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    assert (await refusal(users.calls.Login(login_request()))).reason == "BAD_CREDENTIALS"
    for call in (me.GetMe(pb.GetMeRequest()), me.UpdateMe(pb.UpdateMeRequest(user=pb.User(first_name="No")))):
        error = await refusal(call)
        assert (error.code, error.reason) == ("FAILED_PRECONDITION", "USER_DEACTIVATED")


async def test_deactivating_twice_changes_nothing(users: Users) -> None:
    request = pb.DeactivateUserRequest(user_id=(await users.given()).user.user_id)
    admin = users.as_admin()

    first, second = await admin.DeactivateUser(request), await admin.DeactivateUser(request)

    assert first == second


async def test_no_login_outlives_a_deactivation_at_the_same_moment(users: Users) -> None:
    for number in range(5):
        email = f"user{number}@example.com"
        deactivation = pb.DeactivateUserRequest(user_id=(await users.given(email)).user.user_id)

        session, _ = await at_once(
            partial(users.calls.Login, login_request(email)), partial(users.as_admin().DeactivateUser, deactivation)
        )

        if session != "BAD_CREDENTIALS":
            assert (await refusal(refresh(users, session.tokens.refresh_token))).reason == "REFRESH_TOKEN_INVALID"


async def test_accounts_are_listed_newest_first_while_others_register(users: Users) -> None:
    expected = [(await users.given(f"user{number}@example.com")).user for number in range(7)][::-1]
    admin = users.as_admin()

    seen: list[pb.User] = []
    token = ""
    while True:
        page = await admin.ListUsers(pb.ListUsersRequest(page_size=2, page_token=token))
        seen += page.users
        await users.given(f"late{len(seen)}@example.com")
        token = page.next_page_token
        if not token:
            break

    assert seen == expected


async def test_the_page_token_of_accounts_is_checked(users: Users) -> None:
    error = await refusal(users.as_admin().ListUsers(pb.ListUsersRequest(page_token="AAAA")))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_an_administrator_sees_any_account(users: Users) -> None:
    user = (await users.given()).user

    assert (await users.as_admin().GetUser(pb.GetUserRequest(user_id=user.user_id))).user == user


@pytest.mark.parametrize("method", ["GetUser", "DeactivateUser"])
async def test_an_account_that_does_not_exist_is_not_found(users: Users, method: str) -> None:
    request = getattr(pb, f"{method}Request")(user_id=str(uuid4()))

    error = await refusal(getattr(users.as_admin(), method)(request))

    assert (error.code, error.reason) == ("NOT_FOUND", "USER_NOT_FOUND")


@pytest.mark.parametrize("method", ["GetUser", "DeactivateUser", "ListUsers"])
async def test_other_accounts_are_for_administrators_only(users: Users, method: str) -> None:
    user_id = (await users.given()).user.user_id
    arguments = {} if method == "ListUsers" else {"user_id": user_id}
    request = getattr(pb, f"{method}Request")(**arguments)

    assert (await refusal(getattr(users.calls, method)(request))).code == "UNAUTHENTICATED"
    assert (await refusal(getattr(users.as_user(user_id), method)(request))).code == "PERMISSION_DENIED"


async def test_replicas_that_start_at_once_make_one_administrator(users: Users) -> None:
    start = asyncio.Event()

    async def replica() -> None:
        await start.wait()
        await ensure_admin(users.database, users.passwords, "Root@example.com", RIGHT)

    replicas = [asyncio.create_task(replica()) for _ in range(5)]
    start.set()
    await asyncio.gather(*replicas)

    admin = (await users.calls.Login(login_request("root@example.com"))).user
    assert list(admin.roles) == ["user", "admin"]
    assert len(await users.rows("select 1 from users")) == 1


async def test_an_account_with_the_administrators_address_is_left_as_it_is(users: Users) -> None:
    registered = await users.given("root@example.com", password="my own password")

    await ensure_admin(users.database, users.passwords, "ROOT@example.com", RIGHT)

    response = await users.calls.Login(login_request("root@example.com", "my own password"))
    assert list(response.user.roles) == ["user"]
    assert response.user == registered.user


async def test_nothing_personal_reaches_a_log(users: Users, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    tokens = (await users.given("ada.lovelace@example.com")).tokens
    await users.calls.Login(login_request("ada.lovelace@example.com"))
    await refusal(users.calls.Login(login_request("ada.lovelace@example.com", "battery staple")))
    await refusal(users.given("ADA.lovelace@example.com"))
    await refresh(users, tokens.refresh_token)

    logged = " ".join(str(record.__dict__) for record in caplog.records)
    for secret in ("lovelace", "Lovelace", RIGHT, "battery staple", tokens.refresh_token, tokens.access_token):
        assert secret not in logged
