"""Errors survive the trip over the wire: class, message, reason, facts (D: precise refusals)."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import quote

import grpc
import pytest
from google.rpc.status_pb2 import Status as StatusMessage
from runstream_common.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PlatformError,
    PoisonMessage,
    ResourceExhausted,
    RetryLater,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from runstream_common.rpc.status import (
    CODES,
    DETAILS_KEY,
    from_rpc_error,
    from_status_message,
    status_code,
    to_status,
    to_status_message,
)

FACTS = {"run_id": "7" * 32, "limit": "16"}
EXAMPLES: list[PlatformError] = [
    InvalidArgument(
        [FieldViolation("series[2].values[17]", "must be a number"), FieldViolation("run_id", "is missing")],
        reason="BAD_POINT",
        metadata=FACTS,
    ),
    OutOfRange([FieldViolation("page_token", "is beyond the end")]),
    NotFound("run 7 does not exist", reason="RUN_NOT_FOUND", metadata=FACTS),
    AlreadyExists("it exists", metadata={"constraint": "run_pkey"}),
    FailedPrecondition("run 7 is deleted", reason="RUN_NOT_ACTIVE"),
    Aborted("version 3 is current"),
    PermissionDenied("not yours"),
    Unauthenticated("who are you?"),
    ResourceExhausted("full", retry_after_seconds=0.25, reason="BUS_FULL"),
    ResourceExhausted("full, for how long is not known"),
    Unavailable("the bus is away", retry_after_seconds=2.0),
    DeadlineExceeded("too slow: 5 s"),
    Unimplemented("no such call"),
    Internal("internal error 42", metadata={"error_id": "42"}),
]


class RunNotActive(FailedPrecondition):
    """A domain error as services define them."""

    default_reason = "RUN_NOT_ACTIVE"


class FakeRpcError(grpc.RpcError):
    """What a call raises, without a server."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> list[tuple[str, bytes]]:
        return self._trailers


def over_the_wire(error: PlatformError) -> PlatformError:
    status = to_status(error)
    return from_rpc_error(FakeRpcError(status.code, status.details, list(status.trailing_metadata)))


def facts_of(error: PlatformError) -> tuple[object, ...]:
    return (
        type(error),
        error.message,
        error.reason,
        error.metadata,
        error.retryable,
        getattr(error, "violations", None),
        getattr(error, "retry_after_seconds", None),
    )


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_was_raised(error: PlatformError) -> None:
    assert facts_of(over_the_wire(error)) == facts_of(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_inside_a_stream_message(error: PlatformError) -> None:
    raw = to_status_message(error).SerializeToString()
    assert facts_of(from_status_message(StatusMessage.FromString(raw))) == facts_of(error)


def test_every_class_has_an_example() -> None:
    assert {type(error) for error in EXAMPLES} == set(CODES)


def test_a_domain_error_travels_as_its_nearest_class_with_its_own_reason() -> None:
    error = over_the_wire(RunNotActive("run 7 is deleted"))
    assert status_code(RunNotActive("x")) is grpc.StatusCode.FAILED_PRECONDITION
    assert (type(error), error.reason) == (FailedPrecondition, "RUN_NOT_ACTIVE")


def test_a_status_of_a_thousand_violations_fits_into_trailers() -> None:
    error = InvalidArgument([FieldViolation(f"series[{i}].key", "é" * 300) for i in range(1000)])
    status = to_status(error)
    (size,) = (len(value) for key, value in status.trailing_metadata if key == DETAILS_KEY)
    arrived = over_the_wire(error)
    assert isinstance(arrived, InvalidArgument)
    assert size * 4 / 3 + len(quote(status.details)) < 8192
    assert arrived.violations[0].field == error.violations[0].field
    assert int(arrived.metadata["violations_omitted"]) == 1000 - len(arrived.violations)


def test_a_foreign_status_becomes_the_class_of_its_code() -> None:
    error = from_rpc_error(FakeRpcError(grpc.StatusCode.UNAVAILABLE, "connection refused", []))
    assert (type(error), error.message, error.reason) == (Unavailable, "connection refused", "UNAVAILABLE")


def test_a_call_cancelled_by_a_stopping_server_may_be_retried() -> None:
    error = from_rpc_error(FakeRpcError(grpc.StatusCode.CANCELLED, "", []))
    assert (type(error), error.reason, error.retryable) == (Unavailable, "CANCELLED", True)


def test_broken_details_do_not_hide_the_status() -> None:
    trailers = [(DETAILS_KEY, b"\xff\xff\xff")]
    error = from_rpc_error(FakeRpcError(grpc.StatusCode.NOT_FOUND, "gone", trailers))
    assert (type(error), error.message) == (NotFound, "gone")


def test_details_of_another_code_are_not_believed() -> None:
    other = to_status(NotFound("run 7 does not exist")).trailing_metadata
    error = from_rpc_error(FakeRpcError(grpc.StatusCode.UNAVAILABLE, "proxy gave up", list(other)))
    assert (type(error), error.message) == (Unavailable, "proxy gave up")


def test_an_ok_status_is_no_error() -> None:
    with pytest.raises(ValueError, match="OK"):
        from_status_message(StatusMessage(code=0))


def test_the_summary_of_many_violations_stays_short() -> None:
    error = InvalidArgument([FieldViolation(f"f{i}", "is wrong") for i in range(5)])
    assert str(error) == "f0: is wrong; f1: is wrong; f2: is wrong; and 2 more"
    assert str(InvalidArgument.of("key", "is empty")) == "key: is empty"


def test_consumer_errors_say_why() -> None:
    assert str(PoisonMessage("BAD_JSON", "line 1: missing comma")) == "BAD_JSON: line 1: missing comma"
    assert RetryLater(1.5).delay_seconds == 1.5


def test_the_sdk_may_import_errors_and_statuses_without_the_services_dependencies() -> None:
    program = (
        "import sys, runstream_common.errors, runstream_common.rpc.status\n"
        "heavy = {'pydantic', 'sqlalchemy', 'asyncpg', 'aiohttp', 'structlog', 'faststream', 'opentelemetry'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
