"""However categories are put, they are a tree of at most eight levels."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.catalog.categories import (
    MAX_LEVELS,
    Category,
    CategoryCycle,
    CategoryNotFound,
    CategoryTooDeep,
    Tree,
    name_of,
)
from weft.errors import ServiceError

SLUGS = [f"c{number}" for number in range(12)]


def tree(**parents: str | None) -> Tree:
    return Tree.of(Category(slug=slug, name=slug, parent=parent) for slug, parent in parents.items())


def chain(levels: int) -> Tree:
    return tree(**{f"l{number}": f"l{number - 1}" if number else None for number in range(levels)})


@given(st.lists(st.tuples(st.sampled_from(SLUGS), st.sampled_from([None, *SLUGS])), max_size=60))
def test_whatever_is_put_every_category_has_a_way_up_to_a_root(moves: list[tuple[str, str | None]]) -> None:
    found = Tree()

    for slug, parent in moves:
        with suppress(ServiceError):
            found = found.put(Category(slug=slug, name=slug, parent=parent))

    for slug in found.categories:
        above = found.ancestors(slug)
        assert len(set(above)) == len(above) <= MAX_LEVELS
    shown = [category.slug for category in found]
    assert sorted(shown) == sorted(found.categories)
    places = {slug: place for place, slug in enumerate(shown)}
    assert all(each.parent is None or places[each.parent] < places[each.slug] for each in found)


def test_parents_come_before_their_children_and_children_by_name() -> None:
    found = Tree.of(
        [
            Category(slug="a", name="banana", parent="root"),
            Category(slug="b", name="Apple", parent="root"),
            Category(slug="c", name="zebra", parent="b"),
            Category(slug="root", name="Root"),
            Category(slug="another", name="another"),
        ]
    )

    assert [category.slug for category in found] == ["another", "root", "b", "c", "a"]


@pytest.mark.parametrize("parent", ["l0", "l1", "l2"])
def test_nothing_is_above_itself(parent: str) -> None:
    with pytest.raises(CategoryCycle):
        chain(3).put(Category(slug="l0", name="x", parent=parent))


def test_a_parent_has_to_be_there() -> None:
    with pytest.raises(CategoryNotFound) as refused:
        chain(3).put(Category(slug="x", name="x", parent="y"))

    assert (refused.value.code, refused.value.metadata) == ("FAILED_PRECONDITION", {"category": "y"})


def test_a_category_moves_with_all_that_is_below_it_unless_that_gets_too_deep() -> None:
    two = Tree({**chain(5).categories, **tree(a=None, b="a", c="b").categories})

    moved = two.put(Category(slug="a", name="a", parent="l4"))

    assert moved.ancestors("c") == ["c", "b", "a", "l4", "l3", "l2", "l1", "l0"]
    with pytest.raises(CategoryTooDeep):
        moved.put(Category(slug="d", name="d", parent="c"))
    with pytest.raises(CategoryTooDeep):
        moved.put(Category(slug="new", name="new")).put(Category(slug="l0", name="l0", parent="new"))


@pytest.mark.parametrize(
    ("slug", "name"), [("kitchen", "Kitchen"), ("garden-tools", "Garden tools"), ("4k", "4k"), ("a--", "A")]
)
def test_a_category_that_only_products_name_is_called_by_its_slug(slug: str, name: str) -> None:
    assert name_of(slug) == name
