"""What a refusal says fits into the trailer it travels in."""

from __future__ import annotations

from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from weft.errors import InvalidArgument, Violation
from weft.server.status import MAX_VIOLATIONS_BYTES, to_status


def test_violations_that_do_not_fit_are_left_out_and_counted() -> None:
    violations = [Violation(f"lines[{number}].sku", "is " + "far too long " * 8) for number in range(100)]

    status = to_status(InvalidArgument("wrong", violations=violations), domain="library")

    info, request = ErrorInfo(), BadRequest()
    status.details[0].Unpack(info)
    status.details[1].Unpack(request)
    told = [violation.field for violation in request.field_violations]
    assert told == [violation.field for violation in violations[: len(told)]]
    assert 0 < len(told) < 100
    assert info.metadata["violations_left_out"] == str(100 - len(told))
    assert request.ByteSize() <= MAX_VIOLATIONS_BYTES


def test_all_violations_of_an_ordinary_refusal_are_told() -> None:
    violations = [Violation(f"lines[{number}]", "is required") for number in range(30)]

    status = to_status(InvalidArgument("wrong", violations=violations), domain="library")

    info, request = ErrorInfo(), BadRequest()
    status.details[0].Unpack(info)
    status.details[1].Unpack(request)
    assert len(request.field_violations) == 30
    assert "violations_left_out" not in info.metadata
