from __future__ import annotations

import pytest

from services.masks import InvalidFields, changed_fields

CHANGEABLE = {"name": ("name",), "size": ("width", "height"), "size.width": ("width",), "first_seen": ("first_seen",)}


def test_a_mask_names_the_fields_to_change_whether_set_or_not() -> None:
    assert changed_fields(["name"], ["width"], CHANGEABLE) == {"name"}
    assert changed_fields(["size", "size.width"], [], CHANGEABLE) == {"width", "height"}


def test_an_empty_mask_means_all_that_are_set() -> None:
    assert changed_fields([], ["width", "name"], CHANGEABLE) == {"width", "name"}


def test_a_path_may_be_written_as_rest_callers_write_it() -> None:
    assert changed_fields(["firstSeen"], [], CHANGEABLE) == {"first_seen"}


def test_every_path_that_cannot_be_changed_is_named_by_its_place_and_not_repeated() -> None:
    with pytest.raises(InvalidFields) as refused:
        changed_fields(["owner", "name", "*"], [], CHANGEABLE)

    assert refused.value.reason == "INVALID_FIELDS"
    assert [violation.field for violation in refused.value.violations] == ["updateMask.paths[0]", "updateMask.paths[2]"]
    assert "owner" not in str(refused.value.violations)
    assert refused.value.violations[0].description == "must be one of name, size, size.width, firstSeen"
