"""The bus's Prometheus metrics, all in one place. Labels hold topics and groups, never keys."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

PUBLISHED = Counter(
    "runstream_bus_published_messages_total", "Messages that became durable on the bus", ["topic"]
)
PUBLISHED_BYTES = Counter(
    "runstream_bus_published_bytes_total", "Bytes of values that became durable on the bus", ["topic"]
)
PUBLISH_FAILED = Counter(
    "runstream_bus_publish_failures_total",
    "Publishes that were refused or not confirmed in time",
    ["topic", "reason"],
)
PUBLISH_SECONDS = Histogram(
    "runstream_bus_publish_seconds",
    "Time from publish to durable",
    ["topic"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
IN_FLIGHT_BYTES = Gauge("runstream_bus_in_flight_bytes", "Bytes handed to the bus and not yet durable")
CONSUMED = Counter(
    "runstream_bus_consumed_messages_total", "Messages handled and committed", ["topic", "group"]
)
CONSUMED_BYTES = Counter(
    "runstream_bus_consumed_bytes_total", "Bytes of values handled and committed", ["topic", "group"]
)
RETRIED = Counter(
    "runstream_bus_retried_batches_total", "Batches held and tried again", ["topic", "group", "cause"]
)
DEAD_LETTERED = Counter(
    "runstream_bus_dead_lettered_messages_total", "Messages parked", ["topic", "group", "reason"]
)
EXPIRED = Counter(
    "runstream_bus_expired_messages_total",
    "Messages dropped because their consumer group, which is not a service's, left them unread for too long",
    ["topic", "group"],
)
HANDLE_SECONDS = Histogram(
    "runstream_bus_handle_seconds",
    "Time a batch takes from delivery to commit",
    ["topic", "group"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
LAG_MESSAGES = Gauge(
    "runstream_bus_lag_messages",
    "Messages published and not yet handled; Kafka: of the partitions this process has",
    ["topic", "group", "partition"],
)
OLDEST_SECONDS = Gauge(
    "runstream_bus_oldest_unhandled_seconds",
    "Age of the oldest message not yet handled, 0 when there is none",
    ["topic", "group", "partition"],
)
RUNNING = Gauge(
    "runstream_bus_subscription_running", "1 while the subscription handles messages", ["topic", "group"]
)
