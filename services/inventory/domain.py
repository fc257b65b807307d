"""Stock: units of a SKU are on hand, reserved or sold, and orders move them between these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from weft.errors import FailedPrecondition, InvalidArgument, NotFound, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

__all__ = [
    "ENDED",
    "KEPT",
    "Action",
    "Availability",
    "Change",
    "DuplicateSkus",
    "InsufficientStock",
    "Kind",
    "Level",
    "Line",
    "Reservation",
    "ReservationClosed",
    "ReservationDiffers",
    "ReservationNotFound",
    "State",
    "StockNotFound",
    "Units",
    "adjustment",
    "apply_changes",
    "crossed",
    "fallen",
    "require_distinct",
]


MAX_NAMES_LENGTH: Final = 1_000
"""Of the SKUs that a refusal names: with a hundred violations it stays below the 8 kB that gRPC clients take."""


class StockNotFound(NotFound):
    """Nobody has ever stocked this SKU."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"no stock of {sku}", sku=sku)


class InsufficientStock(FailedPrecondition):
    """Fewer units are on hand than are wanted.

    `violations` and the metadata `lines` name the line of each SKU that is short, where lines were sent; the metadata
    `skus` names as many of these SKUs as fit.
    """

    def __init__(self, on_hand: Mapping[str, int], lines: Sequence[Line] = ()) -> None:
        """Take the units *on_hand* of each SKU that is short, and the *lines* of the request."""
        short = [(index, on_hand[line.sku]) for index, line in enumerate(lines) if line.sku in on_hand]
        lengths = accumulate(len(sku) + 1 for sku in on_hand)
        named = [sku for sku, length in zip(on_hand, lengths, strict=True) if length <= MAX_NAMES_LENGTH]
        super().__init__(
            "too few units are on hand",
            violations=[Violation(f"lines[{index}].quantity", f"only {left} on hand") for index, left in short],
            skus=",".join(named),
        )
        if lines:
            self.metadata = {**self.metadata, "lines": ",".join(str(index) for index, _ in short)}


class DuplicateSkus(InvalidArgument):
    """A SKU stands in more than one line; `violations` names each line after its first."""


class ReservationNotFound(NotFound):
    """Nothing was ever reserved for this order."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"order {order_id} has no reservation", order_id=order_id)


class ReservationClosed(FailedPrecondition):
    """The order's units went back to the shelf, or it was told that it gets none."""

    def __init__(self, order_id: object, state: State) -> None:
        super().__init__(f"the reservation of order {order_id} is {state}", order_id=order_id, state=state)


class ReservationDiffers(InvalidArgument):
    """The order has a reservation of other lines."""

    def __init__(self, order_id: object) -> None:
        super().__init__(f"order {order_id} has reserved other lines", order_id=order_id)


class Line(NamedTuple):
    """How many of which SKU."""

    sku: str
    quantity: int


class Units(NamedTuple):
    """Where units are, or how many more are there than before."""

    on_hand: int = 0
    reserved: int = 0
    sold: int = 0

    def plus(self, other: Units) -> Units:
        return Units(self.on_hand + other.on_hand, self.reserved + other.reserved, self.sold + other.sold)

    def times(self, factor: int) -> Units:
        return Units(self.on_hand * factor, self.reserved * factor, self.sold * factor)


class Kind(StrEnum):
    """Why units moved."""

    ADJUSTED = "adjusted"
    RESERVED = "reserved"
    RELEASED = "released"
    EXPIRED = "expired"
    COMMITTED = "committed"
    RETURNED = "returned"


MOVES: Final[Mapping[Kind, Units]] = {
    Kind.RESERVED: Units(on_hand=-1, reserved=+1),
    Kind.RELEASED: Units(on_hand=+1, reserved=-1),
    Kind.EXPIRED: Units(on_hand=+1, reserved=-1),
    Kind.COMMITTED: Units(reserved=-1, sold=+1),
    Kind.RETURNED: Units(on_hand=+1, sold=-1),
}
"""What each kind does to one unit. The sum of each is 0: orders move units and neither make nor lose one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the ledger."""

    sku: str
    kind: Kind
    units: Units
    order_id: UUID | None = None
    reason: str = ""


def adjustment(sku: str, delta: int, reason: str) -> Change:
    """Return the change by which an administrator puts *delta* units on the shelf, or takes them away."""
    return Change(sku=sku, kind=Kind.ADJUSTED, units=Units(on_hand=delta), reason=reason)


class Availability(StrEnum):
    """How much of a SKU is left, in a word: all that shoppers may know."""

    PLENTY = "plenty"
    """More than the threshold."""
    LOW = "low"
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Units of one SKU; none of them negative."""

    sku: str
    units: Units
    low_stock_threshold: int
    revision: int = 0
    """Grows each time `availability` changes; 0 until anybody was told of it."""
    update_time: datetime

    @property
    def availability(self) -> Availability:
        if self.units.on_hand <= 0:
            return Availability.OUT
        return Availability.LOW if self.units.on_hand <= self.low_stock_threshold else Availability.PLENTY

    def become(self, units: Units, threshold: int) -> Level:
        """Return the level with other *units* and *threshold*, and the next revision where others are to be told."""
        after = replace(self, units=units, low_stock_threshold=threshold)
        if self.revision and after.availability is self.availability:
            return after
        return replace(after, revision=self.revision + 1)


def apply_changes(
    levels: Mapping[str, Level],
    changes: Iterable[Change],
    *,
    lines: Sequence[Line] = (),
    threshold: int | None = None,
) -> dict[str, Level]:
    """Return the levels that *changes* leave, by SKU; those of SKUs that they are not about are left out.

    Args:
        levels: Of every SKU in *changes*; one that nobody has stocked has none.
        changes: What is to happen, all at once.
        lines: Of the request, so that a refusal can name them.
        threshold: New one of all these levels, if it is to change.

    Raises:
        InsufficientStock: fewer units would be on hand than none; names every such SKU.
    """
    moved: dict[str, Units] = {}
    for change in changes:
        moved[change.sku] = moved.get(change.sku, Units()).plus(change.units)
    on_hand = {sku: levels[sku].units.on_hand if sku in levels else 0 for sku in moved}
    short = {sku: on_hand[sku] for sku, units in moved.items() if on_hand[sku] + units.on_hand < 0}
    if short:
        raise InsufficientStock(short, lines)
    return {
        sku: level.become(level.units.plus(units), level.low_stock_threshold if threshold is None else threshold)
        for sku, units in moved.items()
        for level in (levels[sku],)
    }


def crossed(before: Mapping[str, Level], after: Mapping[str, Level]) -> list[Level]:
    """Return the levels of which others are to be told, by SKU: how much is left has changed by a word."""
    return [level for sku, level in sorted(after.items()) if level.revision != before[sku].revision]


def fallen(before: Mapping[str, Level], after: Mapping[str, Level]) -> list[Level]:
    """Return the levels that have fallen to their threshold, by SKU; not those that were there before."""
    return [
        level
        for sku, level in sorted(after.items())
        if before[sku].units.on_hand > level.low_stock_threshold >= level.units.on_hand
    ]


class State(StrEnum):
    """Where an order's units are."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    """Sold."""
    RELEASED = "released"
    """On the shelf again; or never taken, where there are no lines."""
    EXPIRED = "expired"
    """On the shelf again, since nobody confirmed the order in time."""
    RETURNED = "returned"
    """On the shelf again after they were sold."""


ENDED: Final = (State.COMMITTED, State.RELEASED, State.RETURNED)
"""Where a reservation comes to rest. One that has expired does not: its order may still commit or release it."""

KEPT: Final = timedelta(days=365)
"""For how long a reservation is known after it has ended.

For so long a late call is answered as an early one would be; nothing is on its way for longer, and no order waits for
its parcel for longer. After that:

- A release gives nothing back, also of what was sold, and closes the door anew; an administrator may adjust the stock.
- A commit finds no reservation, and sells nothing.
- A reservation would be made. But no order asks for one after it has had one that ended.
"""


class Action(StrEnum):
    """What may be done for an order."""

    RESERVE = "reserve"
    COMMIT = "commit"
    RELEASE = "release"
    EXPIRE = "expire"


TRANSITIONS: Final[Mapping[tuple[State, Action], tuple[State, tuple[Kind, ...]]]] = {
    (State.RESERVED, Action.RESERVE): (State.RESERVED, ()),
    (State.RESERVED, Action.COMMIT): (State.COMMITTED, (Kind.COMMITTED,)),
    (State.RESERVED, Action.RELEASE): (State.RELEASED, (Kind.RELEASED,)),
    (State.RESERVED, Action.EXPIRE): (State.EXPIRED, (Kind.EXPIRED,)),
    (State.COMMITTED, Action.RESERVE): (State.COMMITTED, ()),  # a repeat that comes late
    (State.COMMITTED, Action.COMMIT): (State.COMMITTED, ()),
    (State.COMMITTED, Action.RELEASE): (State.RETURNED, (Kind.RETURNED,)),
    (State.EXPIRED, Action.COMMIT): (State.COMMITTED, (Kind.RESERVED, Kind.COMMITTED)),  # if they are still there
    (State.EXPIRED, Action.RELEASE): (State.RELEASED, ()),  # so that no commit takes them again
    (State.RELEASED, Action.RELEASE): (State.RELEASED, ()),
    (State.RETURNED, Action.RELEASE): (State.RETURNED, ()),
}
"""What is missing here is refused: the reservation is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """An order's units. One without lines is a closed door: the order was called off before it reserved any."""

    order_id: UUID
    state: State
    lines: frozenset[Line]
    expire_time: datetime
    """Until when it holds if nobody commits it."""

    def opened(self) -> list[Change]:
        """Return what happens to the units when this reservation is made."""
        return self._changes(Kind.RESERVED)

    def apply(self, action: Action) -> tuple[Reservation, list[Change]]:
        """Return the reservation after *action*, and what happens to its units.

        Raises:
            ReservationClosed: its state does not allow it.
        """
        following = TRANSITIONS.get((self.state, action))
        if following is None:
            raise ReservationClosed(self.order_id, self.state)
        state, kinds = following
        return replace(self, state=state), [change for kind in kinds for change in self._changes(kind)]

    def require_same(self, lines: Iterable[Line], *, now: datetime) -> None:
        """Return if this is, and at *now* still is, what reserving *lines* would make.

        Raises:
            ReservationClosed: it is over, or nobody has come for it in time.
            ReservationDiffers: it is of other lines.
        """
        self.apply(Action.RESERVE)
        if self.state is State.RESERVED and self.expire_time <= now:  # as good as expired
            raise ReservationClosed(self.order_id, State.EXPIRED)
        if self.lines != frozenset(lines):
            raise ReservationDiffers(self.order_id)

    def _changes(self, kind: Kind) -> list[Change]:
        return [
            Change(sku=line.sku, kind=kind, units=MOVES[kind].times(line.quantity), order_id=self.order_id)
            for line in sorted(self.lines)
        ]


def require_distinct(lines: Sequence[Line]) -> None:
    """Raise DuplicateSkus if a SKU stands in more than one line."""
    first: dict[str, int] = {}
    violations = [
        Violation(f"lines[{index}].sku", f"is the SKU of lines[{first[line.sku]}] too")
        for index, line in enumerate(lines)
        if first.setdefault(line.sku, index) != index
    ]
    if violations:
        raise DuplicateSkus("each SKU may stand in one line only", violations=violations)
