"""What lines of a file say of products, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from services.catalog.domain import Product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

__all__ = ["Line", "Merged", "Outcome", "Refused", "merge"]


class Outcome(Enum):
    """What became of a line that could be imported."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Refused(NamedTuple):
    """Why a line can't be imported."""

    line: int
    field: str
    """Empty where it is the line as a whole."""
    reason: str
    description: str
    """For people. Never contains what the line says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one line says of a product. What it does not say stays as it is."""

    number: int
    sku: str
    values: Mapping[str, Any]
    """Field of `Product` -> value; name, category and price at least."""
    says_alt_texts: bool = True
    """False where images are only addresses: what describes them stays too."""

    def values_for(self, before: Product) -> Mapping[str, Any]:
        if self.says_alt_texts or "images" not in self.values:
            return self.values
        known = {image.uri: image for image in before.images}
        images = tuple(known.get(image.uri, image) for image in self.values["images"])
        return {**self.values, "images": images}


@dataclass(slots=True)
class Merged:
    """What a number of lines come to."""

    added: list[Product] = field(default_factory=list)
    changed: list[Product] = field(default_factory=list)
    outcomes: list[Outcome | Refused] = field(default_factory=list)
    """Of each line, in their order."""


def merge(
    lines: Iterable[Line], found: Mapping[str, tuple[Product, bool]], *, now: datetime, new_id: Callable[[], UUID]
) -> Merged:
    """Return what *lines* make of the products that are there. Of two lines about one SKU the later one wins.

    Args:
        lines: In the order of the file.
        found: SKU -> product, and whether it is on sale.
        now: When.
        new_id: Makes the id of a product that is new.
    """
    merged = Merged()
    before = {sku: product for sku, (product, _) in found.items()}
    current = dict(before)
    for line in lines:
        product = current.get(line.sku)
        if product is None:
            current[line.sku] = Product(
                product_id=new_id(), sku=line.sku, **line.values, create_time=now, update_time=now
            )
            merged.outcomes.append(Outcome.ADDED)
        elif line.sku in found and not found[line.sku][1]:
            merged.outcomes.append(Refused(line.number, "sku", "SKU_TAKEN", "belongs to a product that is off sale"))
        else:
            after = current[line.sku] = product.change(line.values_for(product), now=now)
            merged.outcomes.append(Outcome.UNCHANGED if after is product else Outcome.CHANGED)
    for sku, product in current.items():
        if sku not in before:
            merged.added.append(product)
        elif product is not before[sku]:
            merged.changed.append(product)
    return merged
