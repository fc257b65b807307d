"""PostgreSQL for a service: transactions, hot reads, stored answers, notifications, migrations, caches."""

from weft.data.answers import Answering, RequestIdReused, RequestKey, forget_answers
from weft.data.cache import Cache, open_cache
from weft.data.database import Database
from weft.data.faults import CheckViolation, ConstraintViolation, ForeignKeyViolation, UniqueViolation
from weft.data.listening import MISSED, Missed
from weft.data.prepared import Prepared, prepare
from weft.data.transaction import Isolation, Transaction

__all__ = [
    "MISSED",
    "Answering",
    "Cache",
    "CheckViolation",
    "ConstraintViolation",
    "Database",
    "ForeignKeyViolation",
    "Isolation",
    "Missed",
    "Prepared",
    "RequestIdReused",
    "RequestKey",
    "Transaction",
    "UniqueViolation",
    "forget_answers",
    "open_cache",
    "prepare",
]
