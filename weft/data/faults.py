"""What goes wrong between us and PostgreSQL, in the words of `weft.errors`, with none of the driver's own text."""

from __future__ import annotations

from typing import Final, NoReturn

import asyncpg
from sqlalchemy import exc

from weft import errors

__all__ = ["CheckViolation", "ConstraintViolation", "ForeignKeyViolation", "UniqueViolation"]


class ConstraintViolation(Exception):
    """A statement or commit broke *constraint*. The store, which knows what that means, turns it into its own error."""

    def __init__(self, constraint: str) -> None:
        super().__init__(f"violates constraint {constraint}")
        self.constraint = constraint


class UniqueViolation(ConstraintViolation):
    """A row with the same key exists."""


class ForeignKeyViolation(ConstraintViolation):
    """The row referred to does not exist, or is still referred to."""


class CheckViolation(ConstraintViolation):
    """A CHECK constraint is false."""


DRIVER_ERRORS: Final = (
    exc.SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""What the two drivers raise; a passed timeout is an `OSError` too."""

_CONSTRAINTS: Final[dict[str, type[ConstraintViolation]]] = {
    "23505": UniqueViolation,
    "23503": ForeignKeyViolation,
    "23514": CheckViolation,
}
_CONFLICTS: Final = {
    "40001",
    "40P01",
    "55P03",
}  # serialization failure, deadlock, lock not available within lock_timeout
_QUERY_CANCELED: Final = "57014"  # statement_timeout; our own cancellations surface as CancelledError
_UNAVAILABLE_CLASSES: Final = {"08", "53", "57"}  # connection exception, insufficient resources, operator intervention
_UNAVAILABLE_CLIENT: Final = ("connection is closed", "connection has been released", "pool is clos")


def fail(error: Exception) -> NoReturn:
    """Raise what a driver's *error* means, or *error* itself where the mistake is ours."""
    meaning = _meaning(error)
    if meaning is None:
        raise error
    raise meaning from error


def _meaning(error: Exception) -> Exception | None:
    """Return what a driver's *error* means to a service.

    Source: https://www.postgresql.org/docs/18/errcodes-appendix.html
    """
    cause: BaseException = error
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__ or error.orig
    sqlstate = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""  # asyncpg's name, psycopg2's
    if kind := _CONSTRAINTS.get(sqlstate):
        return kind(getattr(cause, "constraint_name", None) or "")
    if sqlstate in _CONFLICTS:
        return errors.Aborted("the transaction met a conflicting one; run it again", reason="CONFLICT")
    if sqlstate == _QUERY_CANCELED:
        return errors.DeadlineExceeded("the database took too long", reason="DATABASE_TIMEOUT")
    if sqlstate[:2] in _UNAVAILABLE_CLASSES or (not sqlstate and _is_disconnection(error, cause)):
        return errors.Unavailable("the database cannot be reached", reason="DATABASE_UNAVAILABLE")
    return None


def _is_disconnection(error: Exception, cause: BaseException) -> bool:
    if isinstance(cause, OSError | exc.TimeoutError):  # exc.TimeoutError: no connection became free in time
        return True
    if isinstance(cause, asyncpg.InternalClientError):  # the server went away between two messages of its protocol
        return True
    if isinstance(error, exc.OperationalError) or (isinstance(error, exc.DBAPIError) and error.connection_invalidated):
        return True  # psycopg2 says OperationalError, without a state, of whatever keeps it from connecting
    return isinstance(cause, asyncpg.InterfaceError) and any(words in str(cause) for words in _UNAVAILABLE_CLIENT)
