"""Statements compiled once by SQLAlchemy Core and run on asyncpg as they are.

SQLAlchemy's asynchronous layer costs more than the query it runs. A hot read keeps the schema in one place and pays for
the query only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Enum, Select, TypeDecorator
from sqlalchemy.dialects.postgresql import ARRAY, asyncpg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.types import TypeEngine

__all__ = ["Prepared", "prepare"]

_DIALECT: Final = asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves dialect constructors untyped


@dataclass(frozen=True, slots=True)
class Prepared:
    """One SELECT in PostgreSQL's own words. Made by `prepare`, run by `Database.fetch_one` and `fetch_all`."""

    sql: str
    """With `$1`, `$2`, … for values."""
    names: tuple[str, ...]
    """Parameters the caller must give."""
    slots: tuple[tuple[str, Any], ...] | None
    """(name, constant) for each `$n`, name empty for a constant; None when the values are exactly *names*, in order."""

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the values of `$1`, `$2`, … Raises TypeError naming every missing or unknown parameter."""
        if len(parameters) == len(self.names):
            try:
                if self.slots is None:
                    return [parameters[name] for name in self.names]
                return [parameters[name] if name else constant for name, constant in self.slots]
            except KeyError:
                pass
        missing = sorted(set(self.names) - set(parameters))
        unknown = sorted(set(parameters) - set(self.names))
        raise TypeError(f"missing parameters {missing}, unknown parameters {unknown} of: {self.sql}")


def prepare(statement: Select[Any]) -> Prepared:
    """Compile *statement*, whose parameters are `bindparam("name")`, for asyncpg.

    Values pass between asyncpg and the caller untouched, so a column or parameter that SQLAlchemy would convert (an
    Enum class, a `TypeDecorator`) is refused. For `IN`, compare with `any_(bindparam("ids", type_=ARRAY(...)))`: its
    SQL does not depend on the number of values.

    Raises:
        TypeError: *statement* is no SELECT, or can't be run without SQLAlchemy.
    """
    if not isinstance(statement, Select):
        raise TypeError(f"only a SELECT runs outside a transaction, not {type(statement).__name__}")
    compiled = statement.compile(dialect=_DIALECT)
    for column in statement.selected_columns:
        _refuse_conversion(column.type, f"column {column}")
    parameters, slots, names = compiled.params, list[tuple[str, Any]](), list[str]()
    for name in getattr(compiled, "positiontup", None) or ():
        bind = compiled.binds[name]
        if bind.expanding:
            raise TypeError(f"the SQL of parameter {name} depends on its value; use any_() of an array")
        _refuse_conversion(bind.type, f"parameter {name}")
        slots.append((name, None) if bind.required else ("", parameters[name]))
        if bind.required:
            names.append(name)
    exact = len(names) == len(slots)
    return Prepared(sql=str(compiled), names=tuple(dict.fromkeys(names)), slots=None if exact else tuple(slots))


def _refuse_conversion(kind: TypeEngine[Any], what: str) -> None:
    item = kind.item_type if isinstance(kind, ARRAY) else kind
    if isinstance(item, TypeDecorator) or (isinstance(item, Enum) and item.enum_class is not None):
        raise TypeError(f"{what} has type {item!r}, which SQLAlchemy converts; read it through a transaction")
