"""The bound on what was handed to the bus and is not yet durable, so that memory stays flat when the bus is slow."""

from __future__ import annotations

from runstream_common.bus import metrics
from runstream_common.errors import ResourceExhausted

RETRY_AFTER_SECONDS = 0.5
"""At full speed the bound drains in about this time."""


class InFlightBytes:
    """Counts bytes in flight against a bound.

    Args:
        max_bytes: the bound; one message alone may exceed it, or it could never be sent.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    @property
    def current_bytes(self) -> int:
        """What is in flight now."""
        return self._bytes

    def take(self, size_bytes: int, topic: str) -> None:
        """Count a message in.

        Raises:
            ResourceExhausted: the bound would be exceeded; nothing was counted.
        """
        if self._bytes and self._bytes + size_bytes > self._max_bytes:
            metrics.PUBLISH_FAILED.labels(topic, "IN_FLIGHT_LIMIT").inc()
            raise ResourceExhausted(
                "the bus is slower than what is sent to it; try again later",
                reason="BUS_IN_FLIGHT_LIMIT",
                retry_after_seconds=RETRY_AFTER_SECONDS,
                metadata={"limit_bytes": str(self._max_bytes)},
            )
        self._bytes += size_bytes
        metrics.IN_FLIGHT_BYTES.set(self._bytes)

    def give_back(self, size_bytes: int) -> None:
        """Count a message out."""
        self._bytes -= size_bytes
        metrics.IN_FLIGHT_BYTES.set(self._bytes)
