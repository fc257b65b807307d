"""How long the database takes for each report."""

from __future__ import annotations

import json
from datetime import timedelta
from statistics import median
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg

from scripts.lib.generate.orders import History
from services.analytics import queries
from services.analytics.queries import Query
from services.analytics.ranges import DayRange
from services.analytics.reports import MOST_LINES

__all__ = ["BUDGET_MS", "timed"]

BUDGET_MS: Final = 50.0
ROUNDS: Final = 7
ZONE: Final = "Asia/Kathmandu"
"""A zone at an offset of 5:45, whose days share no boundary with UTC's hours."""


async def timed(url: str, history: History) -> dict[str, float]:
    """Return report -> milliseconds in the database, the median of a few, over all of *history*."""
    first = (history.until - timedelta(days=history.days)).date()
    days = DayRange(first, history.until.date(), ZoneInfo(ZONE))
    asked = {
        "sales by day": queries.by_day(days),
        "sales by category": queries.by_category(days, MOST_LINES),
        "sales by product": queries.by_sku(days, MOST_LINES),
        "best sellers": queries.best_sellers(days, 100),
        "conversion": queries.conversion(days),
        "repeat customers": queries.repeats(days),
    }
    connection = await asyncpg.connect(url)
    try:
        return {
            name: median([await _execution_ms(connection, query) for _ in range(ROUNDS)])
            for name, query in asked.items()
        }
    finally:
        await connection.close()


async def _execution_ms(connection: asyncpg.Connection[asyncpg.Record], query: Query) -> float:
    """Return what PostgreSQL says it took, planning included."""
    plan = await connection.fetchval(
        f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query.statement.sql}",
        *query.statement.arguments(query.parameters),
    )
    [report] = json.loads(plan)
    return float(report["Planning Time"]) + float(report["Execution Time"])
