"""Prometheus metrics of webhooks."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "runstream_webhook_attempts",
    "Calls made, by outcome: delivered, refused (an answer) or unanswered.",
    ["outcome"],
)
SECONDS = Histogram(
    "runstream_webhook_attempt_seconds",
    "Time that receivers took.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
IN_FLIGHT = Gauge("runstream_webhook_in_flight", "Calls in progress.")
FORGOTTEN = Counter("runstream_webhook_deliveries_forgotten", "Deliveries that passed their keeping time.")
