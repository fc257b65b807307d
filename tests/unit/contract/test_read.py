"""What a contract must say, and what is read from one that does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from mesh.v1 import options_pb2

from tests.library import PROTO, SERVICE, image
from weft.contract import (
    Access,
    Contract,
    ContractError,
    Format,
    HttpRule,
    RateLimit,
    Retry,
    Subscription,
    read_contract,
)

GET_BOOK, ADD_BOOK, WHO_AM_I, READ_PAGES, WRITE_PAGES, DISCUSS, COUNT_BOOKS = range(7)


def library() -> FileDescriptorProto:
    return next(file for file in image().file if file.name == PROTO)


def changed(change: Callable[[FileDescriptorProto], object]) -> Contract:
    file = library()
    change(file)
    return read_contract([file])


def policy(file: FileDescriptorProto, method: int) -> options_pb2.MethodPolicy:
    return file.service[0].method[method].options.Extensions[options_pb2.method]


def test_a_service_is_read_with_its_policy() -> None:
    service = read_contract([library()]).service("library")

    assert (service.full_name, service.file) == (SERVICE, PROTO)
    assert service.policy.max_in_flight == 4
    assert service.policy.max_requests == 1000  # the default
    assert service.policy.outlier.max_ejection_percent == 50


def test_a_method_is_read_with_its_policy() -> None:
    method = read_contract([library()]).methods[f"/{SERVICE}/GetBook"]

    assert method.access is Access.PUBLIC
    assert method.timeout_s == 1.0
    assert method.retry == Retry(max_attempts=3, initial_backoff_s=0.025, max_backoff_s=0.25)
    assert method.http == (HttpRule(verb="GET", template="/v1/books/{book_id}", body="", response_body=""),)
    assert (method.idempotent, method.side_effects, method.replayable) == (True, False, False)


def test_a_write_with_a_request_id_is_replayable() -> None:
    method = read_contract([library()]).methods[f"/{SERVICE}/AddBook"]

    assert (method.idempotent, method.side_effects, method.replayable) == (False, True, True)
    assert method.roles == {"librarian"}


def test_a_rate_limit_is_read_in_seconds() -> None:
    def limit(file: FileDescriptorProto) -> None:
        policy(file, GET_BOOK).rate_limit.requests = 5
        policy(file, GET_BOOK).rate_limit.per.seconds = 60

    assert changed(limit).methods[f"/{SERVICE}/GetBook"].rate_limit == RateLimit(requests=5, per_s=60.0)


def test_field_rules_are_read_by_message_and_field() -> None:
    rules = read_contract([library()]).rules

    assert rules["library.v1.GetBookRequest"]["book_id"].format is Format.UUID
    assert rules["library.v1.GetBookRequest"]["book_id"].required
    assert rules["library.v1.AddBookRequest"]["tags"].max_items == 3
    assert rules["library.v1.Author"]["email"].sensitive
    assert "library.v1.DiscussRequest" not in rules


def test_an_event_and_its_subject_are_read() -> None:
    def publish(file: FileDescriptorProto) -> None:
        message = next(message for message in file.message_type if message.name == "AddBookResponse")
        message.options.Extensions[options_pb2.event].subject = "book_id"

    event = changed(publish).events["library.v1.AddBookResponse"]

    assert (event.source, event.subject) == ("library", "book_id")


def test_a_subscription_has_defaults_where_the_contract_says_nothing() -> None:
    def subscribe(file: FileDescriptorProto) -> None:
        subscription(file, "shelves", "shelf.v1.ShelfMoved", "shelf.v1.ShelfBuilt")
        file.service[0].options.Extensions[options_pb2.service].subscriptions[-1].timeout.seconds = 3

    (found,) = (each for each in changed(subscribe).service("library").subscriptions if each.name == "library.shelves")

    assert found == Subscription(
        name="library.shelves", service="library", events=("shelf.v1.ShelfMoved", "shelf.v1.ShelfBuilt"), timeout_s=3.0
    )


def test_who_may_call_for_which_service_is_read() -> None:
    method = read_contract([library()]).methods[f"/{SERVICE}/CountBooks"]

    assert (method.access, method.callers) == (Access.SERVICE, frozenset({"archive"}))


def test_libraries_without_mesh_options_are_left_alone() -> None:
    others = [file for file in image().file if file.name != PROTO]

    assert read_contract(others).services == ()


def _clear_access(file: FileDescriptorProto) -> None:
    policy(file, GET_BOOK).ClearField("access")


def _roles_for_everyone(file: FileDescriptorProto) -> None:
    policy(file, GET_BOOK).roles.append("librarian")


def _no_timeout(file: FileDescriptorProto) -> None:
    policy(file, GET_BOOK).ClearField("timeout")


def _retry_a_write(file: FileDescriptorProto) -> None:
    policy(file, ADD_BOOK).retry.max_attempts = 3


def _retry_a_stream(file: FileDescriptorProto) -> None:
    policy(file, READ_PAGES).retry.max_attempts = 3


def _six_attempts(file: FileDescriptorProto) -> None:
    policy(file, GET_BOOK).retry.max_attempts = 6


def _no_name(file: FileDescriptorProto) -> None:
    file.service[0].options.Extensions[options_pb2.service].ClearField("name")


def _bad_name(file: FileDescriptorProto) -> None:
    file.service[0].options.Extensions[options_pb2.service].name = "The Library"


def _same_path(file: FileDescriptorProto) -> None:
    http = file.service[0].method[WHO_AM_I].options.Extensions[annotations_pb2.http]
    http.get = "/v1/books/{subject}"


def _same_path_again(file: FileDescriptorProto) -> None:
    http = file.service[0].method[READ_PAGES].options.Extensions[annotations_pb2.http]
    http.get = "/v1/books/{pages}"


def _unknown_variable(file: FileDescriptorProto) -> None:
    http = file.service[0].method[GET_BOOK].options.Extensions[annotations_pb2.http]
    http.get = "/v1/books/{isbn}"


def _unknown_body(file: FileDescriptorProto) -> None:
    http = file.service[0].method[ADD_BOOK].options.Extensions[annotations_pb2.http]
    http.body = "book"


def _bad_pattern(file: FileDescriptorProto) -> None:
    message = next(message for message in file.message_type if message.name == "GetBookRequest")
    message.field[0].options.Extensions[options_pb2.field].pattern = "("


def _misplaced_rule(file: FileDescriptorProto) -> None:
    message = next(message for message in file.message_type if message.name == "GetBookRequest")
    message.field[0].options.Extensions[options_pb2.field].max_items = 3


def _short_rate(file: FileDescriptorProto) -> None:
    policy(file, GET_BOOK).rate_limit.requests = 1


def _callers_for_everyone(file: FileDescriptorProto) -> None:
    policy(file, GET_BOOK).callers.append("archive")


def _no_callers(file: FileDescriptorProto) -> None:
    policy(file, COUNT_BOOKS).ClearField("callers")


def _service_method_by_rest(file: FileDescriptorProto) -> None:
    file.service[0].method[COUNT_BOOKS].options.Extensions[annotations_pb2.http].get = "/v1/books:count"


def _event_about_nothing(file: FileDescriptorProto) -> None:
    message = next(message for message in file.message_type if message.name == "AddBookResponse")
    message.options.Extensions[options_pb2.event].subject = "isbn"


def subscription(file: FileDescriptorProto, name: str, *events: str) -> None:
    file.service[0].options.Extensions[options_pb2.service].subscriptions.add(name=name, events=events)


def _subscription_to_nothing(file: FileDescriptorProto) -> None:
    subscription(file, "nothing")


def _subscription_without_a_name(file: FileDescriptorProto) -> None:
    subscription(file, "", "shelf.v1.ShelfMoved")


def _two_subscriptions_of_one_name(file: FileDescriptorProto) -> None:
    subscription(file, "shelves", "shelf.v1.ShelfMoved")
    subscription(file, "shelves", "shelf.v1.ShelfBuilt")


def _subscription_to_two_publishers(file: FileDescriptorProto) -> None:
    subscription(file, "shelves", "shelf.v1.ShelfMoved", "reader.v1.ReaderJoined")


@pytest.mark.parametrize(
    ("change", "symbol", "complaint"),
    [
        (_callers_for_everyone, "GetBook", "must name callers with ACCESS_SERVICE, and only there"),
        (_no_callers, "CountBooks", "must name callers with ACCESS_SERVICE"),
        (_service_method_by_rest, "CountBooks", "has a REST path that nobody could call"),
        (_event_about_nothing, "AddBookResponse", "'isbn' is not one of its string fields"),
        (_subscription_to_nothing, "LibraryService", "names no events"),
        (_subscription_without_a_name, "LibraryService", "name '' is not a lower case word"),
        (_two_subscriptions_of_one_name, "LibraryService", "two subscriptions called shelves"),
        (_subscription_to_two_publishers, "LibraryService", "several packages"),
        (_clear_access, "GetBook", "does not say who may call it"),
        (_roles_for_everyone, "GetBook", "roles without ACCESS_AUTHENTICATED"),
        (_no_timeout, "GetBook", "has no timeout"),
        (_retry_a_write, "AddBook", "not declared idempotent"),
        (_retry_a_stream, "ReadPages", "is a stream"),
        (_six_attempts, "GetBook", "from 2 to 5"),
        (_no_name, "LibraryService", "has no (mesh.v1.service).name"),
        (_bad_name, "LibraryService", "'The Library'"),
        (_same_path_again, "ReadPages", "is already library.v1.LibraryService.GetBook"),
        (_unknown_variable, "GetBook", "'isbn'"),
        (_unknown_body, "AddBook", "'book'"),
        (_bad_pattern, "GetBookRequest.book_id", "missing )"),
        (_misplaced_rule, "GetBookRequest.book_id", "for repeated fields"),
        (_short_rate, "GetBook", "50 ms"),
    ],
)
def test_a_contract_that_breaks_a_rule_is_refused(
    change: Callable[[FileDescriptorProto], None], symbol: str, complaint: str
) -> None:
    with pytest.raises(ContractError) as refused:
        changed(change)

    (problem,) = refused.value.problems
    assert complaint in problem
    assert symbol in problem
    assert problem.startswith(PROTO)


def test_all_problems_are_reported_at_once_with_their_lines() -> None:
    def change(file: FileDescriptorProto) -> None:
        _clear_access(file)
        _retry_a_write(file)
        _same_path(file)

    with pytest.raises(ContractError) as refused:
        changed(change)

    assert len(refused.value.problems) == 3
    first = refused.value.problems[0]
    text = first.split(":")
    assert text[0] == PROTO
    assert int(text[1]) > 1


def test_without_positions_a_problem_names_the_symbol() -> None:
    file = library()
    file.ClearField("source_code_info")
    _clear_access(file)

    with pytest.raises(ContractError, match=r"library\.proto: library\.v1\.LibraryService\.GetBook"):
        read_contract([file])
