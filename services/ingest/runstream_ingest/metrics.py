"""Prometheus metrics of ingest."""

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from runstream_ingest.admission import InFlightBytes

POINTS_ACCEPTED = Counter(
    "runstream_ingest_points_accepted_total", "Metric points that became durable on the bus"
)
BATCHES_ACCEPTED = Counter(
    "runstream_ingest_batches_accepted_total", "Batches that became durable on the bus"
)
BATCHES_REFUSED = Counter("runstream_ingest_batches_refused_total", "Batches that were refused", ["reason"])
IN_FLIGHT_BYTES = Gauge("runstream_ingest_in_flight_bytes", "Bytes of batches accepted and not yet durable")


def observe_in_flight(in_flight: "InFlightBytes") -> None:
    """Let the gauge read the bound's count whenever it is scraped."""
    IN_FLIGHT_BYTES.set_function(lambda: in_flight.used_bytes)


def count_accepted(point_count: int) -> None:
    """Count one batch that became durable."""
    BATCHES_ACCEPTED.inc()
    POINTS_ACCEPTED.inc(point_count)
