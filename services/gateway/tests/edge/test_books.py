"""What is written down of requests: metrics, the access log, spans."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from runstream_gateway.edge import calls
from runstream_gateway.edge.access_log import AccessLog
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.tests.edge.serving import serving, until

if TYPE_CHECKING:
    import pytest


async def fine(request: Request) -> Response:
    return json_reply({"length": len(await request.body())})


async def test_requests_are_counted_by_route() -> None:
    async with serving([Route("POST", "/things/{name}", fine), Route("GET", "/x", fine)]) as served:
        for name in ("a", "b"):
            await served.ask("POST", f"/things/{name}", body=b"12345")
        labels = {"route": "/things/{name}", "method": "POST"}
        assert served.counted("runstream_http_requests_total", **labels, status="2xx") == 2
        assert served.counted("runstream_http_request_bytes_total", **labels) == 10
        assert served.counted("runstream_http_response_bytes_total", **labels) == 2 * len(b'{"length":5}')
        assert served.counted("runstream_http_request_duration_seconds_count", **labels) == 2
        # Whatever a client makes up stays one series.
        await served.ask("BREW", "/pot")
        await served.ask("GET", "/things/%00")
        assert served.counted("runstream_http_in_flight") == 0


def log_of(mode: Any) -> tuple[AccessLog, io.StringIO]:
    stream = io.StringIO()
    return AccessLog(mode=mode, slow_ms=1000, stream=stream), stream


async def test_the_access_log_has_a_line_for_each_request() -> None:
    log, stream = log_of("all")
    async with serving([Route("GET", "/things/{name}", fine)]) as served:
        served.application._calls._log = log
        answer = await served.ask("GET", "/things/a%22b?secret=1", headers={"X-Request-Id": "id-1"})
        assert answer.status == 200
    log.flush()
    line = json.loads(stream.getvalue())
    assert line["event"] == "http_request"
    assert (line["method"], line["path"], line["route"]) == ("GET", '/things/a"b', "/things/{name}")
    assert (line["status"], line["request_id"], line["client"]) == (200, "id-1", "127.0.0.1")
    assert line["sent_bytes"] == len(answer.body)
    # Queries may hold what is nobody's business.
    assert "secret" not in stream.getvalue()


async def test_lines_are_written_in_time_without_more_requests() -> None:
    log, stream = log_of("all")
    log.write(200, 1.0, {"path": "/a"})
    log.write(200, 1.0, {"path": "/b"})
    assert stream.getvalue() == ""
    await until(lambda: stream.getvalue() != "")
    assert [json.loads(line)["path"] for line in stream.getvalue().splitlines()] == ["/a", "/b"]


def test_what_is_logged() -> None:
    everything, problems, nothing = (log_of(mode)[0] for mode in ("all", "problems", "off"))
    for status, milliseconds, is_problem in ((200, 1.0, False), (404, 1.0, True), (200, 1000.0, True)):
        assert everything.wants(status, milliseconds)
        assert problems.wants(status, milliseconds) is is_problem
        assert not nothing.wants(status, milliseconds)


async def test_slow_requests_and_faults_are_warnings() -> None:
    log, stream = log_of("all")
    log.write(200, 2000.0, {})
    log.write(500, 1.0, {})
    log.write(200, 1.0, {})
    log.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line.get("slow")) for line in lines] == [
        ("warning", True),
        ("warning", None),
        ("info", None),
    ]


async def test_a_request_is_a_span_of_its_callers_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(calls, "tracing_enabled", lambda: True)
    monkeypatch.setattr(calls, "tracer", lambda: provider.get_tracer("test"))
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with serving([Route("GET", "/things/{name}", fine)]) as served:
        await served.ask("GET", "/things/a", headers={"Traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /things/{name}"
    assert trace.format_trace_id(span.context.trace_id) == trace_id
    assert dict(span.attributes or {})["http.response.status_code"] == 200
