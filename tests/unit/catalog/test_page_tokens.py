from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import paging
from services.paging import PageTokenInvalid, decode, encode

TIMES = st.datetimes(timezones=st.just(UTC), min_value=datetime(1900, 1, 1))  # noqa: DTZ001  # hypothesis wants it naive


@given(st.text(), st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8")), TIMES, st.uuids())
def test_a_token_gives_back_the_position_it_was_made_of(scope: str, name: str, time: datetime, key: UUID) -> None:
    scope = scope.encode(errors="replace").decode()

    token = encode(scope, name, 7, time, key)

    assert decode(token, scope, paging.text, paging.whole(0, 9), paging.time, UUID) == (name, 7, time, key)


@given(st.data())
def test_a_token_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    token = encode("shelf", "mug", UUID(int=7))
    index = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda char: char != token[index]))

    with pytest.raises(PageTokenInvalid) as refused:
        decode(token[:index] + other + token[index + 1 :], "shelf", paging.text, UUID)

    assert refused.value.code == "INVALID_ARGUMENT"
    assert refused.value.reason == "PAGE_TOKEN_INVALID"


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(PageTokenInvalid):
        decode(text, "shelf", UUID)


@pytest.mark.parametrize("change", ["{}=", "{}A", " {}", "{}\n", "!{}"])
def test_a_token_with_something_added_is_refused(change: str) -> None:
    with pytest.raises(PageTokenInvalid):
        decode(change.format(encode("shelf", 7)), "shelf", paging.whole(0, 9))


def test_a_token_of_another_list_is_refused() -> None:
    token = encode("shelf", 7)

    with pytest.raises(PageTokenInvalid):
        decode(token, "shelf2", paging.whole(0, 9))


@pytest.mark.parametrize(
    "position",
    [[], [1, 2], {}, None, "7", ["7"], [-1], [10], [1.5], [[7]], [None], "[" * 5000],
)
def test_a_forged_position_is_refused(position: object) -> None:
    payload = position.encode() if isinstance(position, str) else json.dumps(position).encode()
    forged = urlsafe_b64encode(paging._checksum("shelf", payload) + payload).rstrip(b"=").decode()

    with pytest.raises(PageTokenInvalid):
        decode(forged, "shelf", paging.whole(0, 9))


@pytest.mark.parametrize(
    ("kind", "value"), [(paging.text, "a\0b"), (paging.text, 7), (paging.time, "now"), (paging.time, 10**20), (UUID, 7)]
)
def test_a_value_of_the_wrong_kind_is_refused(kind: type, value: str | int) -> None:
    with pytest.raises(PageTokenInvalid):
        decode(encode("shelf", value), "shelf", kind)


def test_times_keep_their_microseconds() -> None:
    moment = datetime(2026, 3, 1, 12, 30, 15, 123_457, tzinfo=UTC)

    (later,) = decode(encode("shelf", moment + timedelta(microseconds=1)), "shelf", paging.time)

    assert later - moment == timedelta(microseconds=1)
