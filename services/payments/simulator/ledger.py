"""The provider's books: a SQLite file that survives `kill -9`, and that anybody may read while it is written."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Answer", "KeyReused", "Ledger"]

SCHEMA: Final = """
create table if not exists methods (
    token text primary key, behaviour text not null, brand text not null, last_four text not null
) strict;
create table if not exists authorisations (
    id integer primary key,
    key text not null unique,
    reference text not null,
    currency text not null,
    amount integer not null,
    state text not null check (state in ('held', 'declined', 'captured', 'voided')),
    decline_code text not null default ''
) strict;
create index if not exists authorisations_by_reference on authorisations (reference);
create table if not exists refunds (
    refund text not null, reference text not null, amount integer not null, key text not null unique
) strict;
create index if not exists refunds_by_reference on refunds (reference);
create table if not exists answers (
    key text primary key, fingerprint text not null, status integer not null, body text not null
) strict;
"""


class KeyReused(Exception):  # an answer
    """The idempotency key was used for something else."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to an idempotency key, and is answered again."""

    status: int
    body: Mapping[str, Any]


class Ledger:
    """Every method is one transaction at most, on disk when it returns.

    Two authorisations with one reference, but different keys, are two: that is how charging twice would show.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use `Ledger.open`."""
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Ledger]:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.executescript(SCHEMA)
            yield cls(connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def find_answer(self, key: str, fingerprint: str) -> Answer | None:
        """Return what *key* was answered. Raises KeyReused."""
        row = self._first("select fingerprint, status, body from answers where key = ?", key)
        if row is None:
            return None
        if row["fingerprint"] != fingerprint:
            raise KeyReused
        return Answer(row["status"], json.loads(row["body"]))

    def keep_answer(self, key: str, fingerprint: str, answer: Answer) -> None:
        values = (key, fingerprint, answer.status, json.dumps(answer.body))
        self._connection.execute("insert into answers values (?, ?, ?, ?)", values)

    def add_method(self, token: str, behaviour: str, brand: str, last_four: str) -> None:
        self._connection.execute("insert into methods values (?, ?, ?, ?)", (token, behaviour, brand, last_four))

    def find_behaviour(self, token: str) -> str | None:
        row = self._first("select behaviour from methods where token = ?", token)
        return None if row is None else str(row["behaviour"])

    def add_authorisation(self, key: str, reference: str, currency: str, amount: int, decline_code: str) -> None:
        state = "declined" if decline_code else "held"
        self._connection.execute(
            "insert into authorisations (key, reference, currency, amount, state, decline_code)"
            " values (?, ?, ?, ?, ?, ?)",
            (key, reference, currency, amount, state, decline_code),
        )

    def move(self, reference: str, state: str) -> bool:
        """Take (`captured`) or let go (`voided`) all that is held; tell whether anything was."""
        moved = self._connection.execute(
            "update authorisations set state = ? where reference = ? and state = 'held'", (state, reference)
        )
        return moved.rowcount > 0

    def add_refund(self, refund: str, reference: str, amount: int, key: str) -> bool:
        """Give *amount* back, unless less is left of what was taken; tell whether it was given."""
        account = self.account(reference)
        if account is None or amount > account["captured"] - account["refunded"]:
            return False
        self._connection.execute("insert into refunds values (?, ?, ?, ?)", (refund, reference, amount, key))
        return True

    def account(self, reference: str) -> dict[str, Any] | None:
        """Return where the money of *reference* is, or None if nobody ever asked for any."""
        rows = self._all("select * from authorisations where reference = ? order by id", reference)
        if not rows:
            return None
        refunds = self._all("select refund, amount from refunds where reference = ?", reference)
        states = {row["state"] for row in rows}
        return {
            "reference": reference,
            "currency": rows[0]["currency"],
            "standing": next(state for state in ("held", "captured", "voided", "declined") if state in states),
            "decline_code": rows[-1]["decline_code"],
            "authorisations": len([row for row in rows if row["state"] != "declined"]),
            "authorised": _sum(rows, "held", "captured", "voided"),
            "captured": _sum(rows, "captured"),
            "voided": _sum(rows, "voided"),
            "refunded": sum(row["amount"] for row in refunds),
            "refunds": [dict(row) for row in refunds],
        }

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Return the account of every reference."""
        rows = self._all("select distinct reference from authorisations order by reference")
        found = ((row["reference"], self.account(row["reference"])) for row in rows)
        return {reference: account for reference, account in found if account}

    def _first(self, sql: str, *values: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def _all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self._connection.execute(sql, values).fetchall()


def _sum(rows: list[sqlite3.Row], *states: str) -> int:
    return sum(row["amount"] for row in rows if row["state"] in states)
