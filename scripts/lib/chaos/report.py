"""The run for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, Protocol

from scripts.lib.chaos.evidence import Answer, Evidence, SagaEntry, money
from scripts.lib.chaos.faults import Happened
from scripts.lib.chaos.verdict import Verdict
from weft.cli.terminal import format_table

__all__ = ["Run", "breaches", "document", "table", "told"]

SHOWN: Final = 3
"""Cases of one promise that are shown; all of them are counted, and written with `--json`."""


AMOUNTS: Final = frozenset({"total", "amount", "held", "captured", "refunded", "shipping", "sums"})
UNSAID: Final = frozenset({"order_id", "user_id", "goods", "taxes"})
"""Of rows: what is said already, or too long to be read. A breach about taxes says them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run from its seed to its evidence.

    Attributes:
        statuses: `call status` -> answers.
        left: what had not come to rest when the time for that was up; empty after a good end.
        resumed: sagas that were stuck when all was healed, with their reasons, and were resumed as a person would.
    """

    seed: int
    seconds: float
    broker: str
    started: datetime
    happened: tuple[Happened, ...]
    statuses: Mapping[str, int]
    left: Mapping[str, int]
    resumed: Mapping[str, str]
    quiet_s: float
    evidence: Evidence


class _OfOrder(Protocol):
    @property
    def order_id(self) -> str: ...


def table(verdict: Verdict) -> str:
    """Return every promise with how often it was held against something, and how often it was broken."""
    rows = [
        (finding.area, finding.rule, f"{finding.checked:,} {finding.cases}", _outcome(len(finding.breaches)))
        for finding in verdict.findings
    ]
    return format_table(("area", "what must hold", "checked", ""), rows)


def told(run: Run, verdict: Verdict) -> str:
    """Return what happened, in a few lines."""
    faults = Counter(f"{each.fault.act}" for each in run.happened if not each.outcome.startswith("skipped"))
    skipped = sum(each.outcome.startswith("skipped") for each in run.happened)
    lines = [
        f"orders   {', '.join(f'{count} {name}' for name, count in verdict.counts.items())}",
        f"answers  {', '.join(f'{count} x {name}' for name, count in sorted(run.statuses.items()))}",
        f"faults   {', '.join(f'{count} {act}' for act, count in sorted(faults.items()))}; {skipped} skipped",
        f"quiet    {run.quiet_s:.1f} s after all was healed"
        if not run.left
        else f"quiet    never: {_listed(run.left)}",
    ]
    lines.append(f"mails    {_mails(run.evidence)}")
    if run.resumed:
        reasons = Counter(run.resumed.values())
        lines.append(f"stuck    {_listed(reasons)}: resumed once, as a person would")
    return "\n".join(lines)


def _mails(evidence: Evidence) -> str:
    """Return how many mails came, and how many came again: that is what SMTP's at least once is."""
    copies = Counter(mail.message_id for mail in evidence.mails)
    again = sum(count > 1 for count in copies.values())
    return f"{len(copies)} taken, {again} of them more than once, by their Message-ID"


def breaches(run: Run, verdict: Verdict) -> str:
    """Return each breach with the history of its order, at most `SHOWN` for a promise."""
    lines: list[str] = []
    for finding in verdict.findings:
        if not finding.breaches:
            continue
        lines.append(f"\nBROKEN: {finding.rule} ({len(finding.breaches)} of {finding.checked} {finding.cases})")
        for breach in finding.breaches[:SHOWN]:
            lines.append(f"  {breach.subject} {breach.text}")
            lines += [f"    {line}" for line in history(run.evidence, breach.order_id)]
        if len(finding.breaches) > SHOWN:
            lines.append(f"  ... and {len(finding.breaches) - SHOWN} more (--json FILE has all)")
    return "\n".join(lines)


def history(evidence: Evidence, order_id: str) -> Sequence[str]:
    """Return what every part knows of an order, then what happened to it, by time."""
    if not order_id:
        return ()
    sagas = {each.saga_id for each in evidence.sagas if each.order_id == order_id}
    owners = (evidence.orders, evidence.sagas, evidence.payments, evidence.charges, evidence.reservations)
    followers = (evidence.changes, evidence.shipments, evidence.invoices, evidence.refunds)
    rows: Iterable[_OfOrder] = chain(*owners, *followers)
    known = [_row(each) for each in rows if each.order_id == order_id]
    events = [each for each in evidence.outbox if each.subject == order_id]
    happened = [
        *((each.time, _step(each)) for each in evidence.saga_log if each.saga_id in sagas),
        *((each.time, f"{each.source} published {each.type} {each.sequence}") for each in events),
        *(
            (applied[each.event_id], f"{name} applied {each.type} {each.sequence}")
            for name, applied in evidence.inbox.items()
            for each in events
            if each.event_id in applied
        ),
        *(
            (evidence.began + timedelta(seconds=each.at_s), _answer(each))
            for each in evidence.answers
            if each.order_id == order_id
        ),
    ]
    return [*known, *(f"{time:%H:%M:%S}.{time.microsecond // 1000:03}  {text}" for time, text in sorted(happened))]


def _row(row: Any) -> str:
    facts = {name: value for name, value in asdict(row).items() if value and name not in UNSAID}
    amounts = {name: money(value) for name, value in facts.items() if name in AMOUNTS}
    return f"{type(row).__name__} {' '.join(f'{name}={value}' for name, value in (facts | amounts).items())}"


def _step(entry: SagaEntry) -> str:
    attempt = f", attempt {entry.attempt}" if entry.attempt > 1 else ""
    return f"{entry.holder}: {entry.step} {entry.kind} {entry.reason}".rstrip() + attempt


def _answer(answer: Answer) -> str:
    said = f"{answer.state} {answer.reason}".strip()
    return (
        f"{answer.call} {answer.key}".rstrip() + f" was told {said}, asked {answer.at_s - answer.asked_s:.1f} s before"
    )


def document(run: Run, verdict: Verdict) -> dict[str, Any]:
    """Return what `--json` writes."""
    return {
        "seed": run.seed,
        "seconds": run.seconds,
        "broker": run.broker,
        "started": run.started.astimezone(UTC).isoformat(timespec="seconds"),
        "held": not verdict.breaches,
        "counts": dict(verdict.counts),
        "answers": dict(run.statuses),
        "faults": [{**asdict(each.fault), "outcome": each.outcome} for each in run.happened],
        "quiet_s": round(run.quiet_s, 1),
        "left": dict(run.left),
        "resumed": dict(run.resumed),
        "findings": [
            {
                **asdict(finding),
                "breaches": [
                    {**asdict(breach), "history": list(history(run.evidence, breach.order_id))}
                    for breach in finding.breaches
                ],
            }
            for finding in verdict.findings
        ],
    }


def _outcome(breaches: int) -> str:
    return f"BROKEN {breaches}" if breaches else "held"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
