"""The right to be forgotten: what becomes of an account that its user deletes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import aio
from shop.users.v1 import events_pb2, users_pb2_grpc
from shop.users.v1 import users_pb2 as pb

from services.users.__main__ import ensure_admin
from services.users.domain import normalized_email
from tests.mesh.services.calls import Calls, outcome, refusal

if TYPE_CHECKING:
    from tests.mesh.services.conftest import Users

PASSWORD = "correct horse"
SECRETS = ("ada@example.com", "Ada", "Lovelace", "+4917012345678", "app:token-of-ada")
NOTHING = pb.DeleteMeResponse()


async def given_ada(users: Users) -> Any:
    """Register somebody of whom everything is known; return what registering said."""
    registered = await users.given()
    preferences = pb.Preferences(
        language="de", marketing=True, channels=[pb.CHANNEL_SMS], phone_number=SECRETS[3], push_token=SECRETS[4]
    )
    request = pb.UpdateMeRequest(
        user=pb.User(preferences=preferences), update_mask=FieldMask(paths=["preferences"]), request_id="know-me"
    )
    await users.as_user(registered.user.user_id).UpdateMe(request)
    return registered


async def given_admin(users: Users, email: str) -> str:
    await ensure_admin(users.database, users.passwords, email, PASSWORD)
    rows = await users.rows("select user_id from users where normalized_email = :email", email=normalized_email(email))
    return str(rows[0].user_id)


async def deleted_events(users: Users) -> list[str]:
    rows = await users.rows("select data from outbox where type = 'shop.users.v1.UserDeleted'")
    return [events_pb2.UserDeleted.FromString(row.data).user_id for row in rows]


async def everything(users: Users) -> str:
    """Return all that is in the database, as text."""
    tables = await users.rows("select tablename from pg_tables where schemaname = 'public'")
    found = []
    for (table,) in tables:
        rows = await users.rows(f"select * from {table}")
        found += [str([bytes(v) if isinstance(v, memoryview) else v for v in row]) for row in rows]
    return "\n".join(found)


def login(email: str = "ada@example.com", password: str = PASSWORD) -> pb.LoginRequest:
    return pb.LoginRequest(email=email, password=password)


async def test_nothing_that_says_who_it_was_stays_of_a_deleted_account(users: Users) -> None:
    registered = await given_ada(users)
    before = await everything(users)
    assert all(secret in before for secret in SECRETS)

    assert await users.as_user(registered.user.user_id).DeleteMe(pb.DeleteMeRequest()) == NOTHING

    after = await everything(users)
    assert [secret for secret in SECRETS if secret.lower() in after.lower()] == []
    (row,) = await users.rows("select * from users")
    assert (row.state, row.roles, row.password_hash, row.normalized_email) == ("deleted", [], "", None)
    assert (await users.rows("select count(*) from sessions"))[0][0] == 0
    assert (await users.rows("select count(*) from refresh_tokens"))[0][0] == 0


async def test_others_hear_of_it_once_however_often_it_is_asked_for(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    me = users.as_user(user_id)

    answers = [await outcome(each) for each in [me.DeleteMe(pb.DeleteMeRequest()) for _ in range(3)]]

    assert answers == [NOTHING] * 3
    assert await deleted_events(users) == [user_id]


async def test_of_ten_who_delete_an_account_at_once_one_does(users: Users) -> None:
    user_id = (await users.given()).user.user_id

    answers = await asyncio.gather(*(outcome(users.as_user(user_id).DeleteMe(pb.DeleteMeRequest())) for _ in range(10)))

    assert answers == [NOTHING] * 10
    assert await deleted_events(users) == [user_id]


async def test_a_deleted_account_is_none(users: Users) -> None:
    registered = await users.given()
    user_id = registered.user.user_id
    me, admin = users.as_user(user_id), users.as_admin()
    notifications = Calls(
        users_pb2_grpc.UsersServiceStub(users.server.channel), users.server.service_token("notifications")
    )
    await me.DeleteMe(pb.DeleteMeRequest())

    change = pb.UpdateMeRequest(user=pb.User(first_name="Eve"))
    outcomes = [
        await outcome(me.GetMe(pb.GetMeRequest())),
        await outcome(me.UpdateMe(change)),
        await outcome(notifications.GetContact(pb.GetContactRequest(user_id=user_id))),
        await outcome(admin.DeactivateUser(pb.DeactivateUserRequest(user_id=user_id))),
        await outcome(users.calls.Login(login())),
        await outcome(users.calls.Refresh(pb.RefreshRequest(refresh_token=registered.tokens.refresh_token))),
    ]

    assert outcomes == [*["USER_NOT_FOUND"] * 4, "BAD_CREDENTIALS", "REFRESH_TOKEN_INVALID"]
    with pytest.raises(aio.AioRpcError) as refused:
        await anext(aiter(me.ExportMe(pb.ExportMeRequest())))
    assert refused.value.code().name == "NOT_FOUND"


@pytest.mark.parametrize("address", ["", "ada@example.com", "the id"])
@pytest.mark.parametrize("password", ["", PASSWORD])
async def test_nothing_that_is_typed_in_logs_anybody_in_there(users: Users, address: str, password: str) -> None:
    user_id = (await users.given()).user.user_id
    await users.as_user(user_id).DeleteMe(pb.DeleteMeRequest())

    answer = await outcome(users.calls.Login(login(user_id if address == "the id" else address, password)))

    assert answer in ("BAD_CREDENTIALS", "INVALID_FIELDS", "INVALID_ARGUMENT")


async def test_a_login_to_a_deleted_account_takes_as_much_work_as_any(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    await users.as_user(user_id).DeleteMe(pb.DeleteMeRequest())

    await outcome(users.calls.Login(login()))

    assert users.hasher.verified == 1


async def test_the_address_is_free_for_a_new_account(users: Users) -> None:
    old = (await users.given()).user.user_id
    await users.as_user(old).DeleteMe(pb.DeleteMeRequest())

    new = (await users.given("ADA@example.com")).user.user_id

    assert new != old
    assert (await users.calls.Login(login())).user.user_id == new
    assert await outcome(users.as_user(old).GetMe(pb.GetMeRequest())) == "USER_NOT_FOUND"


async def test_several_accounts_can_be_deleted(users: Users) -> None:
    ids = [(await users.given(f"ada-{number}@example.com")).user.user_id for number in range(3)]

    for user_id in ids:
        await users.as_user(user_id).DeleteMe(pb.DeleteMeRequest())

    assert await deleted_events(users) == ids


async def test_administrators_see_that_an_account_was_deleted_and_do_not_list_it(users: Users) -> None:
    user_id, other = [(await users.given(f"ada-{number}@example.com")).user.user_id for number in range(2)]
    await users.as_user(user_id).DeleteMe(pb.DeleteMeRequest())

    seen = (await users.as_admin().GetUser(pb.GetUserRequest(user_id=user_id))).user
    page = await users.as_admin().ListUsers(pb.ListUsersRequest(page_size=1))

    assert seen == pb.User(
        user_id=user_id,
        state=pb.User.STATE_DELETED,
        preferences=pb.Preferences(language="en", channels=[pb.CHANNEL_EMAIL]),
        create_time=seen.create_time,
        update_time=seen.update_time,
    )
    assert ([user.user_id for user in page.users], page.next_page_token) == ([other], "")


async def test_a_deactivated_account_may_be_deleted(users: Users) -> None:
    user_id = (await users.given()).user.user_id
    await users.as_admin().DeactivateUser(pb.DeactivateUserRequest(user_id=user_id, request_id="barred"))

    assert await users.as_user(user_id).DeleteMe(pb.DeleteMeRequest()) == NOTHING

    assert "ada@example.com" not in await everything(users), "the administrator's answer is stored too"


async def test_who_never_had_an_account_has_none_to_delete(users: Users) -> None:
    nobody = users.as_user("11111111-1111-4111-8111-111111111111")

    assert (await refusal(nobody.DeleteMe(pb.DeleteMeRequest()))).reason == "USER_NOT_FOUND"
    assert (await refusal(users.as_user("robot").DeleteMe(pb.DeleteMeRequest()))).reason == "USER_NOT_FOUND"


async def test_the_last_administrator_stays(users: Users) -> None:
    await users.given()
    root = await given_admin(users, "root@example.com")

    refused = await refusal(users.as_user(root).DeleteMe(pb.DeleteMeRequest()))

    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "LAST_ADMINISTRATOR")
    assert await deleted_events(users) == []
    assert (await users.calls.Login(login("root@example.com"))).user.state == pb.User.STATE_ACTIVE


async def test_an_administrator_who_is_barred_can_not_run_the_shop_in_place_of_the_last(users: Users) -> None:
    root, barred = [await given_admin(users, f"{name}@example.com") for name in ("root", "barred")]
    await users.as_admin().DeactivateUser(pb.DeactivateUserRequest(user_id=barred))

    assert await outcome(users.as_user(root).DeleteMe(pb.DeleteMeRequest())) == "LAST_ADMINISTRATOR"
    assert await outcome(users.as_user(barred).DeleteMe(pb.DeleteMeRequest())) == NOTHING


async def test_of_administrators_who_all_leave_at_once_one_stays(users: Users) -> None:
    everyone = [await given_admin(users, f"root-{number}@example.com") for number in range(5)]

    answers = await asyncio.gather(*(outcome(users.as_user(each).DeleteMe(pb.DeleteMeRequest())) for each in everyone))

    assert answers.count("LAST_ADMINISTRATOR") == 1
    assert answers.count(NOTHING) == 4
    (left,) = await users.rows("select user_id from users where state = 'active'")
    assert answers[everyone.index(str(left.user_id))] == "LAST_ADMINISTRATOR"
    assert len(await deleted_events(users)) == 4


async def test_whatever_else_happens_to_an_account_while_it_is_deleted_nothing_of_it_stays(users: Users) -> None:
    registered = await given_ada(users)
    user_id, refresh_token = registered.user.user_id, registered.tokens.refresh_token
    me = users.as_user(user_id)
    changes = [
        pb.UpdateMeRequest(user=pb.User(last_name="Lovelace"), request_id=f"change-{number}") for number in range(5)
    ]

    await asyncio.gather(
        *(outcome(me.UpdateMe(change)) for change in changes),
        *(outcome(users.calls.Login(login())) for _ in range(5)),
        outcome(users.calls.Refresh(pb.RefreshRequest(refresh_token=refresh_token))),
        me.DeleteMe(pb.DeleteMeRequest()),
        outcome(users.as_admin().DeactivateUser(pb.DeactivateUserRequest(user_id=user_id, request_id="barred"))),
    )

    left = await everything(users)
    assert [secret for secret in SECRETS if secret in left] == []
    assert (await users.rows("select count(*) from sessions"))[0][0] == 0
    assert await deleted_events(users) == [user_id]
