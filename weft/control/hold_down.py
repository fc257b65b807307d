"""What to make of a registry that suddenly knows of nobody.

A registry that lost its state, its leader or our permission to read answers "no instances" as calmly as one whose
last instance has left: the two can't be told apart, not even after a clean deregistration. So the last good endpoints
of a service are kept for a stated time, in which a registry recovers or somebody looks; only then "nobody" is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from weft.registry import Instance

__all__ = ["HoldDown"]

MASS_SHARE: Final = 0.5
"""Share of the known services above which emptiness is taken for a fault of the registry, and no hold ends."""
MASS_SERVICES: Final = 2
"""Empty services below which it is never called a fault of the registry."""

Services = Mapping[str, tuple[Instance, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldDown:
    """The catalog as it is believed at one moment; `heard` and `at` give the next one.

    A service that loses some of its instances is followed at once. One that loses all keeps them for `hold_s`. As long
    as more than half of the services are empty at once no hold ends: clients are no better off with no address at all.
    """

    hold_s: float
    """How long "nobody" is doubted, in seconds; 0 believes everything at once."""
    last_good: Services = field(default_factory=dict)
    """Service -> its instances when it last had any; without those given up."""
    empty_since_s: Mapping[str, float] = field(default_factory=dict)
    """Held service -> instant since when the registry says that it has none."""

    @property
    def services(self) -> Services:
        """Service -> instances to publish; a service that is not named has none."""
        return self.last_good

    @property
    def held(self) -> frozenset[str]:
        """Services whose instances the registry no longer names."""
        return frozenset(self.empty_since_s)

    @property
    def is_mass(self) -> bool:
        """Whether so many services are empty that the registry is doubted and no hold ends."""
        enough = len(self.held) >= MASS_SERVICES and len(self.held) > MASS_SHARE * len(self.last_good)
        return self.hold_s > 0 and enough

    @property
    def next_end_s(self) -> float | None:
        """Instant at which `at` next has something to give up; None if that does not depend on time."""
        return (
            None if self.is_mass else min((since + self.hold_s for since in self.empty_since_s.values()), default=None)
        )

    def heard(self, services: Services, now_s: float) -> HoldDown:
        """Return what to believe after the registry said *services* at *now_s*."""
        present = {name: instances for name, instances in services.items() if instances}
        absent = self.last_good.keys() - present.keys()
        believed = replace(
            self,
            last_good={**{name: self.last_good[name] for name in absent}, **present},
            empty_since_s={name: self.empty_since_s.get(name, now_s) for name in absent},
        )
        if (
            self.is_mass and not believed.is_mass
        ):  # the registry is recovering: those still missing get their time from now
            believed = replace(believed, empty_since_s=dict.fromkeys(absent, now_s))
        return believed.at(now_s)

    def at(self, now_s: float) -> HoldDown:
        """Return what to believe at *now_s* if nothing more was heard: holds that are over are given up."""
        if self.is_mass:
            return self
        over = {name for name, since in self.empty_since_s.items() if since + self.hold_s <= now_s}
        if not over:
            return self
        return replace(
            self,
            last_good={name: instances for name, instances in self.last_good.items() if name not in over},
            empty_since_s={name: since for name, since in self.empty_since_s.items() if name not in over},
        )
