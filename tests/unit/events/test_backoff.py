from __future__ import annotations

import pytest

from weft.events.backoff import backoff_s


@pytest.mark.parametrize(("attempt", "most_s"), [(1, 0.2), (2, 0.4), (4, 1.6), (7, 10.0), (100_000, 10.0)], ids=str)
def test_the_wait_is_anywhere_below_a_bound_that_doubles_up_to_the_cap(attempt: int, most_s: float) -> None:
    waits_s = [backoff_s(attempt, base_s=0.2, cap_s=10.0) for _ in range(500)]

    assert min(waits_s) >= 0
    assert max(waits_s) <= most_s
    assert max(waits_s) > most_s / 2
