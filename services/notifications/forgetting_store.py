"""Who is forgotten, as rows, and what goes with them. The transaction is the caller's.

Three write about a user at the same time: who hears of something, who finds out whom that reaches, and who forgets.
The first two hold the user's lock, shared, and look whether the user is forgotten; the last holds it alone. So what is
written about a user either is there to be deleted, or isn't written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.notifications.tables import forgotten_users, notices, notifications

if TYPE_CHECKING:
    from collections.abc import Collection

    from weft.data import Transaction

__all__ = ["forget", "remembered"]

# Locks are taken in order, so that nobody waits for each other. Numbers of locks are the service's own: its database
# has no other user. Two users of one number do no harm but to wait.
_SHARE: Final = text(
    """
    SELECT pg_advisory_xact_lock_shared(number)
    FROM (SELECT DISTINCT hashtextextended(user_id, 0) AS number FROM unnest(:user_ids) AS told (user_id) ORDER BY 1)
        AS locks
    """
).bindparams(bindparam("user_ids", type_=ARRAY(Text)))
_HOLD: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:user_id, 0))").bindparams(
    bindparam("user_id", type_=Text)
)
_FORGOTTEN: Final = select(forgotten_users.c.user_id).where(
    forgotten_users.c.user_id == func.any(bindparam("user_ids", type_=ARRAY(Text)))
)


async def remembered(tx: Transaction, user_ids: Collection[str]) -> set[str]:
    """Return those of *user_ids* who are not forgotten; nobody forgets them before the transaction ends."""
    if not user_ids:
        return set()
    values = {"user_ids": [*user_ids]}
    await tx.execute(_SHARE, values)
    return {*user_ids} - {row.user_id for row in await tx.all(_FORGOTTEN, values)}


async def forget(tx: Transaction, user_id: str) -> None:
    """Delete all that a user was told or is to be told, and remember to tell them nothing any more."""
    await tx.execute(_HOLD, {"user_id": user_id})
    await tx.execute(insert(forgotten_users).values(user_id=user_id, delete_time=func.now()).on_conflict_do_nothing())
    await tx.execute(delete(notifications).where(notifications.c.user_id == user_id))
    await tx.execute(delete(notices).where(notices.c.user_id == user_id))
