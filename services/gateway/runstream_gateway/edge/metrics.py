"""Every Prometheus metric of the gateway's HTTP server, with what it means."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 100.0)
"""From an answer out of memory to the default request timeout."""


class HttpMetrics:
    """What the HTTP server counts. Routes are named by their pattern, so that the number of series is bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "runstream_http_requests",
            "Requests answered, by route, method and class of status; 499 is a client that left.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "runstream_http_request_duration_seconds",
            "Time from a request's headers to the end of its answer; event streams are left out.",
            ["route", "method"],
            buckets=SECONDS,
            registry=registry,
        )
        self.answered_bytes = Counter(
            "runstream_http_response_bytes",
            "Bytes of answers' bodies as they were sent.",
            ["route", "method"],
            registry=registry,
        )
        self.received_bytes = Counter(
            "runstream_http_request_bytes",
            "Bytes of requests' bodies as they came; streamed uploads count here too.",
            ["route", "method"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "runstream_http_in_flight",
            "Requests in progress.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.timeouts = Counter(
            "runstream_http_slow_clients",
            "Connections closed on clients that sent or took nothing for too long, by what was waited for.",
            ["waiting_for"],
            registry=registry,
        )


@cache
def http_metrics(registry: CollectorRegistry = REGISTRY) -> HttpMetrics:
    """The metrics of one registry; a registry takes each name once."""
    return HttpMetrics(registry)
