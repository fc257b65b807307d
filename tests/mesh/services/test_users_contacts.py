"""How users want to be told of things, who may know where that leads, and what others hear of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from shop.users.v1 import events_pb2, users_pb2_grpc
from shop.users.v1 import users_pb2 as pb

from services.users import store
from services.users.__main__ import ensure_admin
from tests.mesh.services.calls import Calls, outcome, refusal
from tests.mesh.services.test_statements import filled, plan
from weft.testing import STRANGER

if TYPE_CHECKING:
    from tests.mesh.services.conftest import Users

PHONE = "+4917012345678"
EMAIL, SMS, PUSH = pb.CHANNEL_EMAIL, pb.CHANNEL_SMS, pb.CHANNEL_PUSH


def notifications(users: Users) -> Calls:
    """Return calls as the notifications service makes them."""
    return Calls(users_pb2_grpc.UsersServiceStub(users.server.channel), users.server.service_token("notifications"))


async def change(users: Users, user_id: str, *paths: str, **preferences: Any) -> pb.Preferences:
    request = pb.UpdateMeRequest(
        user=pb.User(preferences=pb.Preferences(**preferences)), update_mask=FieldMask(paths=paths)
    )
    preferences_now: pb.Preferences = (await users.as_user(user_id).UpdateMe(request)).user.preferences
    return preferences_now


async def test_others_hear_of_an_account_by_its_id_once_it_is_made(users: Users) -> None:
    user = (await users.given()).user

    await outcome(users.given("ADA@example.com"))

    rows = await users.rows("select type, subject, data from outbox")
    assert [(row.type, row.subject) for row in rows] == [("shop.users.v1.UserRegistered", user.user_id)]
    assert events_pb2.UserRegistered.FromString(rows[0].data) == events_pb2.UserRegistered(user_id=user.user_id)
    assert b"ada" not in rows[0].data.lower()


async def test_who_never_chose_is_told_by_e_mail(users: Users) -> None:
    user = (await users.given()).user

    assert list(user.preferences.channels) == [EMAIL]
    assert (user.preferences.phone_number, user.preferences.push_token) == ("", "")


async def test_channels_and_where_they_lead_are_kept_and_can_be_taken_back(users: Users) -> None:
    user_id = (await users.given()).user.user_id

    chosen = await change(users, user_id, channels=[PUSH, SMS], phone_number=PHONE, push_token="app:1")
    kept = await change(users, user_id, language="de")
    taken = await change(users, user_id, "preferences.channels", "preferences.phoneNumber")
    reset = await change(users, user_id, "preferences", language="fr")

    assert (list(chosen.channels), chosen.phone_number, chosen.push_token) == ([PUSH, SMS], PHONE, "app:1")
    assert (list(kept.channels), kept.phone_number, kept.push_token) == ([PUSH, SMS], PHONE, "app:1")
    assert (list(taken.channels), taken.phone_number, taken.push_token) == ([EMAIL], "", "app:1")
    assert reset == pb.Preferences(language="fr", channels=[EMAIL])


@pytest.mark.parametrize(
    ("preferences", "field"),
    [
        ({"channels": [EMAIL, 0]}, "user.preferences.channels[1]"),
        ({"channels": [EMAIL, 9]}, "user.preferences.channels[1]"),
        ({"channels": [SMS, SMS]}, "user.preferences.channels"),
        ({"channels": [EMAIL, SMS, PUSH, EMAIL]}, "user.preferences.channels"),
        ({"phone_number": "0170 1234567"}, "user.preferences.phoneNumber"),
        ({"phone_number": "+4917012345678\r\n"}, "user.preferences.phoneNumber"),
        ({"push_token": "a token"}, "user.preferences.pushToken"),
        ({"push_token": "x" * 513}, "user.preferences.pushToken"),
    ],
)
async def test_what_leads_nowhere_is_refused(users: Users, preferences: dict[str, Any], field: str) -> None:
    user_id = (await users.given()).user.user_id

    error = await refusal(change(users, user_id, **preferences))

    assert error.code == "INVALID_ARGUMENT"
    assert [each.field for each in error.violations] == [field]
    assert "1234567" not in f"{error.message} {error.violations}"


async def test_notifications_gets_the_contact_of_a_user(users: Users) -> None:
    user_id = (await users.given("Ada@example.com")).user.user_id
    await change(users, user_id, language="de", channels=[SMS], phone_number=PHONE)

    response = await notifications(users).GetContact(pb.GetContactRequest(user_id=user_id))

    assert response.contact == pb.Contact(
        user_id=user_id,
        email="Ada@example.com",
        first_name="Ada",
        preferences=pb.Preferences(language="de", channels=[SMS], phone_number=PHONE),
    )
    missing = await refusal(notifications(users).GetContact(pb.GetContactRequest(user_id=str(uuid4()))))
    assert (missing.code, missing.reason) == ("NOT_FOUND", "USER_NOT_FOUND")


async def test_administrators_who_are_active_are_found_oldest_first_and_a_hundred_at_most(users: Users) -> None:
    await users.given()
    for number in range(3):
        await ensure_admin(users.database, users.passwords, f"admin{number}@example.com", "correct horse")
    await users.rows("update users set state = 'deactivated' where email = 'admin1@example.com' returning 1")

    few = (await notifications(users).ListAdminContacts(pb.ListAdminContactsRequest())).contacts
    await users.rows(
        """
        insert into users (user_id, email, normalized_email, password_hash, first_name, last_name, roles, state,
                           language, marketing, create_time, update_time)
        select gen_random_uuid(), n || '@example.com', n || '@example.com', '', 'A', 'B', '{user,admin}', 'active',
               'en', false, now(), now() from generate_series(1, 150) n returning 1
        """
    )
    many = (await notifications(users).ListAdminContacts(pb.ListAdminContactsRequest())).contacts

    assert [each.email for each in few] == ["admin0@example.com", "admin2@example.com"]
    assert len(many) == 100
    assert list(many[:2]) == list(few)


@pytest.mark.parametrize("method", ["GetContact", "ListAdminContacts"])
async def test_nobody_else_gets_to_know_how_to_reach_anybody(users: Users, method: str) -> None:
    user_id = (await users.given()).user.user_id
    stub = users_pb2_grpc.UsersServiceStub(users.server.channel)
    request = pb.GetContactRequest(user_id=user_id) if method == "GetContact" else pb.ListAdminContactsRequest()

    for calls in (
        users.calls,
        users.as_user(user_id),
        users.as_admin(),
        Calls(stub, users.server.service_token(STRANGER)),
    ):
        assert (await refusal(getattr(calls, method)(request))).code in ("UNAUTHENTICATED", "PERMISSION_DENIED")


async def test_administrators_are_found_by_their_index(users: Users) -> None:
    many = """
        insert into users (user_id, email, normalized_email, password_hash, first_name, last_name, roles, state,
                           language, marketing, create_time, update_time)
        select gen_random_uuid(), n || '@example.com', n || '@example.com', '', 'A', 'B', '{user}', 'active', 'en',
               false, now(), now() from generate_series(1, 5000) n
    """
    database = await filled(users.database, many)

    assert "users_administrators" in await plan(database, store._ADMINISTRATORS, limit=100)
