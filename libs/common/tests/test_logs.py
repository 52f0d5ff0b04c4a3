"""Logs: one chain for our records and the libraries', with the trace they belong to."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from runstream_common.logs import configure_logging
from runstream_common.settings import ObservabilitySettings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(**settings: Any) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(ObservabilitySettings(**settings), service="metadata", stream=stream)
    return stream


def test_our_records_and_the_libraries_look_the_same() -> None:
    stream = configured()
    structlog.get_logger("runstream_test").info("batch_applied", points=3)
    logging.getLogger("aiokafka.consumer").warning("lost %s", "partition 3", extra={"attempt": 2})
    ours, theirs = logged(stream)
    assert (ours["event"], ours["points"], ours["level"]) == ("batch_applied", 3, "info")
    assert (theirs["event"], theirs["attempt"], theirs["level"]) == ("lost partition 3", 2, "warning")
    assert {ours["service"], theirs["service"]} == {"metadata"}
    assert ours["logger"] == "runstream_test"
    assert ours["time"].endswith("Z")


def test_levels_hold_for_us_and_libraries_are_quieter() -> None:
    stream = configured(log_level="info")
    structlog.get_logger("runstream_test").debug("hidden")
    logging.getLogger("aiokafka.cluster").info("hidden")
    logging.getLogger("aiokafka.cluster").warning("shown")
    assert [line["event"] for line in logged(stream)] == ["shown"]


def test_records_carry_the_trace_they_belong_to() -> None:
    stream = configured()
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("call") as span:
        structlog.get_logger("runstream_test").info("inside")
    structlog.get_logger("runstream_test").info("outside")
    inside, outside = logged(stream)
    assert int(inside["trace_id"], 16) == span.get_span_context().trace_id
    assert int(inside["span_id"], 16) == span.get_span_context().span_id
    assert "trace_id" not in outside


def test_exceptions_are_one_line_of_json() -> None:
    stream = configured()
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("runstream_test").exception("failed")
    (line,) = logged(stream)
    assert "ValueError: broken" in line["exception"]


def test_the_console_is_for_people() -> None:
    stream = configured(log_format="console")
    structlog.get_logger("runstream_test").info("batch_applied", points=3)
    assert "batch_applied" in stream.getvalue()
    assert "points=3" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        logged(stream)


def test_configuring_again_replaces_the_first() -> None:
    first, second = configured(), configured()
    structlog.get_logger("runstream_test").info("once")
    assert first.getvalue() == ""
    assert len(logged(second)) == 1
