"""Categories: a tree of at most eight levels, in which nothing is above itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from weft.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "MAX_LEVELS",
    "Category",
    "CategoryCycle",
    "CategoryNotEmpty",
    "CategoryNotFound",
    "CategoryTooDeep",
    "Tree",
    "name_of",
]

MAX_LEVELS: Final = 8
"""From a root to the deepest category below it, both counted."""


class CategoryNotFound(FailedPrecondition):
    """There is no such parent."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"no category {slug} to be part of", category=slug)


class CategoryCycle(FailedPrecondition):
    """The category would be above itself."""

    def __init__(self, slug: str, parent: str) -> None:
        super().__init__(f"{parent} is part of {slug}, or is it", category=slug, parent=parent)


class CategoryTooDeep(FailedPrecondition):
    """The tree would have too many levels."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"{slug} would be too deep, or what is below it", category=slug, levels=MAX_LEVELS)


class CategoryNotEmpty(FailedPrecondition):
    """The category has children, or products on sale."""

    def __init__(self, slug: str) -> None:
        super().__init__(f"category {slug} is not empty", category=slug)


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A place for products."""

    slug: str
    name: str
    parent: str | None = None
    """None at the root."""


def name_of(slug: str) -> str:
    """Return what a category is called that only a product has named: `garden-tools` is `Garden tools`."""
    return slug.replace("-", " ").strip().capitalize() or slug


@dataclass(frozen=True, slots=True)
class Tree:
    """All categories, by slug. One that says it has a parent has one, and so on up to a root."""

    categories: Mapping[str, Category] = field(default_factory=dict)

    @classmethod
    def of(cls, categories: Iterable[Category]) -> Tree:
        return cls({each.slug: each for each in categories})

    def put(self, category: Category) -> Tree:
        """Return the tree with *category* in its place, and all that was below it still below it.

        Raises:
            CategoryNotFound: there is no such parent.
            CategoryCycle: it would be above itself.
            CategoryTooDeep: it, or one below it, would be on a level that there is not.
        """
        if category.parent is not None and category.parent not in self.categories:
            raise CategoryNotFound(category.parent)
        after = Tree({**self.categories, category.slug: category})
        if category.parent is not None and category.slug in self.ancestors(category.parent):
            raise CategoryCycle(category.slug, category.parent)
        if any(len(after.ancestors(slug)) > MAX_LEVELS for slug in after.below(category.slug)):
            raise CategoryTooDeep(category.slug)
        return after

    def ancestors(self, slug: str) -> list[str]:
        """Return the slugs from *slug* itself up to its root."""
        found = [slug]
        while (parent := self.categories[found[-1]].parent) is not None:
            found.append(parent)
        return found

    def below(self, slug: str) -> list[str]:
        """Return *slug* and all that is below it."""
        children = self._children()
        found = [slug]
        for each in found:  # grows while it is read
            found += [child.slug for child in children.get(each, ())]
        return found

    def __iter__(self) -> Iterator[Category]:
        """Yield each category before those below it, and siblings by name."""
        children = self._children()
        waiting = children.get(None, [])[::-1]
        while waiting:
            category = waiting.pop()
            yield category
            waiting += children.get(category.slug, [])[::-1]

    def _children(self) -> dict[str | None, list[Category]]:
        found: dict[str | None, list[Category]] = {}
        for each in sorted(self.categories.values(), key=lambda each: (each.name.casefold(), each.slug)):
            found.setdefault(each.parent, []).append(each)
        return found
