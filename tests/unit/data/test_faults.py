from __future__ import annotations

import asyncpg
import pytest

from weft import errors
from weft.data.faults import fail


def test_a_connection_whose_server_vanished_between_two_messages_is_a_database_that_is_away() -> None:
    with pytest.raises(errors.Unavailable) as found:
        fail(asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"))

    assert found.value.reason == "DATABASE_UNAVAILABLE"
