"""Sagas end, do each step once, and are worked on by one replica at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from scripts.lib.chaos.evidence import Evidence, SagaEntry
from scripts.lib.chaos.finding import Breach, Finding, found

__all__ = ["RULES"]

AREA: Final = "sagas"
FREE: Final = frozenset({"retried", "released", "resumed", "stuck"})
"""After these lines nobody holds a saga: the next replica takes it without ado."""
TOUCHED: Final = frozenset({"done", "retried", "gave_up"})
"""Lines after which a step may have had an effect. A clear no at its first attempt is none of them."""


def ended(evidence: Evidence) -> Finding:
    breaches = (
        Breach(subject=saga.saga_id, text=f"{saga.definition} is still {saga.status}", order_id=saga.order_id)
        for saga in evidence.sagas
        if saga.status in {"RUNNING", "COMPENSATING"}
    )
    return found(AREA, "every saga ends", len(evidence.sagas), "sagas", breaches)


def stuck_for_a_reason(evidence: Evidence) -> Finding:
    """Every fault is gone by now, and whoever got stuck was resumed once: none has a reason left."""
    breaches = (
        Breach(
            subject=saga.saga_id,
            text=f"{saga.definition} is stuck, for {saga.failure or 'no reason'}",
            order_id=saga.order_id,
        )
        for saga in evidence.sagas
        if saga.status == "STUCK"
    )
    return found(AREA, "no saga is stuck", len(evidence.sagas), "sagas", breaches)


def steps_once(evidence: Evidence) -> Finding:
    orders = _orders(evidence)
    counts = Counter(
        (each.saga_id, each.step, each.kind) for each in evidence.saga_log if each.kind in {"done", "compensated"}
    )
    breaches = (
        Breach(subject=saga_id, text=f"{step} was {kind} {count} times", order_id=orders.get(saga_id, ""))
        for (saga_id, step, kind), count in sorted(counts.items())
        if count > 1
    )
    return found(AREA, "no step is done or undone twice", len(counts), "steps", breaches)


def one_at_a_time(evidence: Evidence) -> Finding:
    """Another replica may go on with a saga that was let go of, or take it when the holder's time is up."""
    logs, orders = _logs(evidence), _orders(evidence)

    def breaches() -> Iterator[Breach]:
        for saga_id, entries in sorted(logs.items()):
            for before, after in pairwise(entries):
                if before.holder == after.holder or before.kind in FREE:
                    continue
                held_s = (after.time - before.time).total_seconds()
                if after.kind == "lease_taken" and held_s >= evidence.lease_s:
                    continue
                text = f"line {after.number}: {after.holder} went on {held_s:.3f} s after {before.holder}, who held it"
                yield Breach(subject=saga_id, text=text, order_id=orders.get(saga_id, ""))

    return found(AREA, "one replica at a time works on a saga", len(logs), "sagas", breaches())


def all_undone(evidence: Evidence) -> Finding:
    """A saga that was compensated has undone all that may have had an effect."""
    logs = _logs(evidence)
    compensated = [saga for saga in evidence.sagas if saga.status == "COMPENSATED"]

    def breaches() -> Iterator[Breach]:
        for saga in compensated:
            entries = logs.get(saga.saga_id, [])
            began = next((at for at, each in enumerate(entries) if each.kind == "compensating"), len(entries))
            touched = {each.step for each in entries[:began] if each.kind in TOUCHED}
            undone = {each.step for each in entries if each.kind == "compensated"}
            for step in sorted((touched & evidence.undoable.get(saga.definition, frozenset())) - undone):
                yield Breach(subject=saga.saga_id, text=f"{step} was never undone", order_id=saga.order_id)

    return found(AREA, "a compensated saga has undone all it may have done", len(compensated), "sagas", breaches())


def _orders(evidence: Evidence) -> dict[str, str]:
    return {saga.saga_id: saga.order_id for saga in evidence.sagas}


def _logs(evidence: Evidence) -> dict[str, list[SagaEntry]]:
    logs: dict[str, list[SagaEntry]] = defaultdict(list)
    for each in sorted(evidence.saga_log, key=lambda each: (each.saga_id, each.number)):
        logs[each.saga_id].append(each)
    return logs


RULES: Final = (ended, stuck_for_a_reason, steps_once, one_at_a_time, all_undone)
