"""One request on its way: what is known of it, counted, logged and traced."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from runstream_common.telemetry import tracer, tracing_enabled

from runstream_gateway.edge.metrics import http_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import CollectorRegistry, Counter

    from runstream_gateway.edge.access_log import AccessLog

UNMATCHED = "unmatched"
"""Route name of requests that no route takes."""
_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Call:
    """A request in progress."""

    __slots__ = (
        "client",
        "is_event_stream",
        "method",
        "path",
        "received_bytes",
        "request_id",
        "route",
        "sent_bytes",
        "started",
        "status",
    )

    def __init__(self, method: str, path: str, request_id: str, client: str) -> None:
        self.method = method
        self.path = path
        self.request_id = request_id
        self.client = client
        self.route = UNMATCHED
        self.status = 500
        self.received_bytes = 0
        self.sent_bytes = 0
        self.is_event_stream = False
        self.started = time.perf_counter()


class _RouteCounters:
    """The children of one route's metrics, looked up once."""

    __slots__ = ("answered", "by_class", "received", "seconds")

    def __init__(self, registry: CollectorRegistry, route: str, method: str) -> None:
        metrics = http_metrics(registry)
        self.by_class: dict[int, Counter] = {}
        self.seconds = metrics.seconds.labels(route, method)
        self.answered = metrics.answered_bytes.labels(route, method)
        self.received = metrics.received_bytes.labels(route, method)


class Calls:
    """Every request in progress, and the books of those that ended.

    Args:
        access_log: where they are written.
        registry: where they are counted.
    """

    def __init__(self, access_log: AccessLog, registry: CollectorRegistry) -> None:
        self._log = access_log
        self._registry = registry
        self._metrics = http_metrics(registry)
        self._counters: dict[tuple[str, str], _RouteCounters] = {}
        self.in_flight = 0

    def begin(self, call: Call) -> None:
        """Count a request in."""
        del call
        self.in_flight += 1
        self._metrics.in_flight.inc()

    def end(self, call: Call) -> None:
        """Count a request out and log it."""
        self.in_flight -= 1
        self._metrics.in_flight.dec()
        seconds = time.perf_counter() - call.started
        self._count(call, seconds)
        milliseconds = 0.0 if call.is_event_stream else seconds * 1000
        if self._log.wants(call.status, milliseconds):
            self._log.write(
                call.status,
                milliseconds,
                {
                    "method": call.method,
                    "path": call.path,
                    "route": call.route,
                    "client": call.client,
                    "received_bytes": call.received_bytes,
                    "sent_bytes": call.sent_bytes,
                    "request_id": call.request_id,
                },
            )

    def _count(self, call: Call, seconds: float) -> None:
        method = call.method if call.method in _KNOWN_METHODS else "other"
        counters = self._counters.get((call.route, method))
        if counters is None:
            counters = self._counters[call.route, method] = _RouteCounters(self._registry, call.route, method)
        # 499 stands alone: a client that left is nobody's error.
        kind = 499 if call.status == 499 else call.status // 100
        counter = counters.by_class.get(kind)
        if counter is None:
            label = "499" if kind == 499 else f"{kind}xx"
            counter = counters.by_class[kind] = self._metrics.requests.labels(call.route, method, label)
        counter.inc()
        if not call.is_event_stream:
            counters.seconds.observe(seconds)
        if call.sent_bytes:
            counters.answered.inc(call.sent_bytes)
        if call.received_bytes:
            counters.received.inc(call.received_bytes)


@contextlib.contextmanager
def traced(call: Call, headers: Mapping[bytes, bytes]) -> Iterator[None]:
    """A span around a request when tracing is on; else the caller's trace id, if it sent one, for the log."""
    recording = tracing_enabled()
    if not recording and b"traceparent" not in headers:
        yield
        return
    carrier = {
        name: headers[name.encode()].decode("latin-1")
        for name in ("traceparent", "tracestate")
        if name.encode() in headers
    }
    parent = TraceContextTextMapPropagator().extract(carrier)
    if not recording:
        token = otel_context.attach(parent)
        try:
            yield
        finally:
            otel_context.detach(token)
        return
    with tracer().start_as_current_span(call.method, context=parent, kind=trace.SpanKind.SERVER) as span:
        try:
            yield
        finally:
            _describe(span, call)


def _describe(span: trace.Span, call: Call) -> None:
    attributes: dict[str, Any] = {
        "http.request.method": call.method,
        "http.route": call.route,
        "http.response.status_code": call.status,
        "url.path": call.path,
        "runstream.request_id": call.request_id,
    }
    span.update_name(f"{call.method} {call.route}")
    span.set_attributes(attributes)
    if call.status >= 500:
        span.set_status(trace.StatusCode.ERROR)
