"""Every Prometheus metric of object stores, with what it means."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

CALL_SECONDS = Histogram(
    "runstream_object_store_call_seconds",
    "Time of a blocking call to the store (disk or S3), waiting for a thread left out, by action.",
    ["action"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 120.0),
)
CALL_FAILED = Counter(
    "runstream_object_store_call_failed",
    "Calls to the store that failed, by action and reason (UPPER_SNAKE, as clients see it).",
    ["action", "reason"],
)
RECEIVED_BYTES = Counter(
    "runstream_object_store_received_bytes", "Bytes that clients sent to a local store's signed URLs."
)
SENT_BYTES = Counter(
    "runstream_object_store_sent_bytes", "Bytes that clients fetched from a local store's signed URLs."
)
REFUSED = Counter(
    "runstream_object_store_refused",
    "Requests to a local store's URLs that were refused, by S3 error code.",
    ["code"],
)
