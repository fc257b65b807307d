from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.users.domain import (
    SESSION_LIFETIME,
    LastAdministrator,
    Role,
    State,
    StoredToken,
    User,
    UserDeactivated,
    Verdict,
    judge,
    normalized_email,
    token_digest,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def user(**fields: object) -> User:
    values: dict[str, object] = {
        "user_id": UUID(int=7),
        "email": "Ada@Example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "create_time": NOW,
        "update_time": NOW,
    }
    return User(**(values | fields))  # type: ignore[arg-type]  # the fields of a user


def token(**fields: object) -> StoredToken:
    values: dict[str, object] = {
        "session_id": UUID(int=1),
        "expire_time": NOW + SESSION_LIFETIME,
        "used": False,
        "session_ended": False,
    }
    return StoredToken(**(values | fields))  # type: ignore[arg-type]  # the fields of a token


@pytest.mark.parametrize(
    ("presented", "state", "verdict"),
    [
        (None, State.ACTIVE, Verdict.REFUSE),
        (token(), State.ACTIVE, Verdict.ROTATE),
        (token(), State.DEACTIVATED, Verdict.REFUSE),
        (token(used=True), State.ACTIVE, Verdict.END_SESSION),
        (token(used=True), State.DEACTIVATED, Verdict.END_SESSION),
        (token(used=True, expire_time=NOW), State.ACTIVE, Verdict.END_SESSION),
        (token(expire_time=NOW), State.ACTIVE, Verdict.REFUSE),
        (token(expire_time=NOW + timedelta(microseconds=1)), State.ACTIVE, Verdict.ROTATE),
        (token(session_ended=True), State.ACTIVE, Verdict.REFUSE),
        (token(session_ended=True, used=True), State.ACTIVE, Verdict.REFUSE),
    ],
)
def test_a_refresh_token_is_good_for_one_refresh_of_a_live_session(
    presented: StoredToken | None, state: State, verdict: Verdict
) -> None:
    assert judge(presented, state, now=NOW) is verdict


def test_deactivating_a_second_time_keeps_the_time_of_the_first() -> None:
    once = user().deactivate(now=NOW + timedelta(hours=1))

    twice = once.deactivate(now=NOW + timedelta(hours=2))

    assert once.state is State.DEACTIVATED
    assert once.update_time == NOW + timedelta(hours=1)
    assert twice == once


def test_a_deactivated_account_may_not_be_used() -> None:
    with pytest.raises(UserDeactivated) as refused:
        user(state=State.DEACTIVATED).require_active()

    assert refused.value.reason == "USER_DEACTIVATED"
    assert user().require_active() == user()


def test_what_is_left_of_a_deleted_account_says_when_and_not_whose() -> None:
    known = user(language="de", marketing=True, channels=("sms",), phone_number="+4917012345678", push_token="app:1")

    left = known.delete([], now=NOW + timedelta(hours=1))

    assert left == User(
        user_id=known.user_id,
        email="",
        first_name="",
        last_name="",
        roles=(),
        state=State.DELETED,
        create_time=known.create_time,
        update_time=NOW + timedelta(hours=1),
    )


def test_an_administrator_may_leave_when_there_is_another_one() -> None:
    one, other = user(roles=(Role.USER, Role.ADMIN)), user(roles=(Role.ADMIN,), user_id=uuid4())

    with pytest.raises(LastAdministrator) as refused:
        one.delete([one], now=NOW)
    with pytest.raises(LastAdministrator):
        one.delete([], now=NOW)

    assert refused.value.reason == "LAST_ADMINISTRATOR"
    assert one.delete([one, other], now=NOW).state is State.DELETED
    assert replace(one, state=State.DEACTIVATED).delete([], now=NOW).state is State.DELETED


def test_clearing_the_language_brings_back_the_default() -> None:
    german = user().change({"language": "de", "marketing": True}, now=NOW)

    cleared = german.change({"language": ""}, now=NOW)

    assert (german.language, german.marketing) == ("de", True)
    assert (cleared.language, cleared.marketing) == ("en", True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@example.com", "ADA@Example.COM"),
        ("straße@example.com", "STRASSE@example.com"),
        ("ada@example.com", " ada@example.com"),
        ("caf\u00e9@example.com", "cafe\u0301@example.com"),
        ("\uff41da@example.com", "Ada@example.com"),
    ],
)
def test_spellings_of_one_address_are_equal(one: str, other: str) -> None:
    assert normalized_email(one) == normalized_email(other)


@given(st.text())
def test_normalizing_an_address_again_changes_nothing(email: str) -> None:
    once = normalized_email(email)

    assert normalized_email(once) == once


def test_an_account_shows_nothing_personal_in_a_traceback() -> None:
    shown = repr(user())

    assert "Ada" not in shown
    assert "Lovelace" not in shown


def test_of_a_refresh_token_only_a_digest_is_kept() -> None:
    assert len(token_digest("secret")) == 32
    assert b"secret" not in token_digest("secret")
    assert token_digest("secret") != token_digest("Secret")
