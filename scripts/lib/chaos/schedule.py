"""What breaks when. The same seed, length and parts give the same schedule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

__all__ = ["Act", "Fault", "Kind", "Part", "schedule"]

FIRST_S: Final = 1.0
"""Before the first fault, so that there is something under way."""
GAP_S: Final = (0.6, 2.4)
"""Between two faults; what the first broke is often not whole again when the next comes."""
PAUSE_S: Final = (0.5, 4.0)
"""Of a process: shorter and longer than calls wait."""
LONG_PAUSE_S: Final = (6.0, 14.0)
"""Of a replica: longer than its leases last, so that another one has taken over when it wakes."""
LONG_PAUSES: Final = 0.4
"""Share of long ones among a replica's pauses."""
TROUBLE_S: Final = (1.0, 5.0)
"""Of those outside."""


class Act(StrEnum):
    """What is done to a part."""

    KILL = "kill"
    """SIGKILL, as by a power cut. Its supervisor starts it again."""
    PAUSE = "pause"
    """SIGSTOP, and SIGCONT later, as by a machine that swaps or a virtual one that is moved."""
    RESTART = "restart"
    """As for a deploy: a service is replaced replica by replica, another process asked to end."""
    DELAY = "delay answers of"
    """It answers late."""
    REFUSE = "refuse calls of"
    """It answers that it can't."""
    LOSE = "lose answers of"
    """It does what it is asked, and its answer is lost."""


class Kind(StrEnum):
    """What a part is, which says what may happen to it."""

    REPLICA = "replica"
    SERVICE = "service"
    """All replicas of one service, for a rolling restart."""
    SUPPORT = "support"
    """A process there is one of: the gateway, the broker, the database."""
    OUTSIDE = "outside"
    """Whoever moves the money, or takes the mails; it can be told to misbehave."""


ACTS: Final = {
    Kind.REPLICA: (Act.KILL, Act.PAUSE),
    Kind.SERVICE: (Act.RESTART,),
    Kind.SUPPORT: (Act.KILL, Act.PAUSE, Act.RESTART),
    Kind.OUTSIDE: (Act.KILL, Act.PAUSE, Act.DELAY, Act.REFUSE, Act.LOSE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that can break.

    Attributes:
        name: of the process in the mesh's record, or of the service.
        weight: how many times as often as a part of weight 1 it breaks, at least 1.
    """

    name: str
    kind: Kind
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that breaks.

    Attributes:
        at_s: since the first shopper came.
        length_s: until it is undone; 0 where nothing has to be.
    """

    at_s: float
    act: Act
    target: str
    length_s: float = 0.0

    def __str__(self) -> str:
        length = f" for {self.length_s:.1f} s" if self.length_s else ""
        return f"{self.at_s:6.1f} s  {self.act} {self.target}{length}"


def schedule(seed: int, seconds: float, parts: Iterable[Part]) -> tuple[Fault, ...]:
    """Return the faults of a run of *seconds*, by time; all of them are undone when it ends.

    Every act on every part is a card, as often as the part's weight says. The cards are shuffled and dealt, and
    shuffled again when none is left: a long run leaves nothing out.
    """
    chance = Random(f"chaos {seed}")  # noqa: S311  # to be repeated, not to be secret
    cards = [(part, act) for part in parts for act in ACTS[part.kind] for _ in range(part.weight)]
    faults: list[Fault] = []
    deck: list[tuple[Part, Act]] = []
    at_s = FIRST_S
    while cards and at_s < seconds:
        if not deck:
            deck = _shuffled(chance, cards)
        part, act = deck.pop()
        length_s = min(_length_s(chance, part, act), seconds - at_s)
        faults.append(Fault(at_s=at_s, act=act, target=part.name, length_s=round(length_s, 1)))
        at_s = round(at_s + chance.uniform(*GAP_S), 1)
    return tuple(faults)


def _shuffled(chance: Random, cards: Sequence[tuple[Part, Act]]) -> list[tuple[Part, Act]]:
    return chance.sample(cards, len(cards))


def _length_s(chance: Random, part: Part, act: Act) -> float:
    if act in {Act.DELAY, Act.REFUSE, Act.LOSE}:
        return chance.uniform(*TROUBLE_S)
    if act is not Act.PAUSE:
        return 0.0
    is_long = part.kind is Kind.REPLICA and chance.random() < LONG_PAUSES
    return chance.uniform(*(LONG_PAUSE_S if is_long else PAUSE_S))
