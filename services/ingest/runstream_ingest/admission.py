"""A bound on the bytes of batches that are accepted and not yet durable."""

import asyncio
from collections import deque

from runstream_common.errors import ResourceExhausted

RETRY_AFTER_SECONDS = 0.25


class InFlightBytes:
    """Counts bytes in flight; a full count refuses unary callers and holds streams.

    A message larger than what is left is admitted when nothing else is in flight, so that the largest legal message
    always gets through.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used_bytes(self) -> int:
        """Bytes in flight now."""
        return self._used

    def try_acquire(self, size_bytes: int) -> None:
        """Count the bytes or refuse.

        Raises:
            ResourceExhausted: the bound is reached; says when to come back.
        """
        if self._waiters or not self._fits(size_bytes):
            raise ResourceExhausted(
                f"{self._used} bytes are waiting to become durable, the limit is {self._limit}; send again later",
                reason="IN_FLIGHT_BYTES_EXCEEDED",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._used += size_bytes

    async def acquire(self, size_bytes: int) -> None:
        """Count the bytes, waiting in line until they fit."""
        if not self._waiters and self._fits(size_bytes):
            self._used += size_bytes
            return
        future = asyncio.get_running_loop().create_future()
        entry = (size_bytes, future)
        self._waiters.append(entry)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(size_bytes)
            elif entry in self._waiters:
                # Else a release between the cancellation and this line has passed it over already.
                self._waiters.remove(entry)
                self._admit_waiters()
            raise

    def release(self, size_bytes: int) -> None:
        """Give back bytes that were counted."""
        self._used -= size_bytes
        self._admit_waiters()

    def _fits(self, size_bytes: int) -> bool:
        return self._used == 0 or self._used + size_bytes <= self._limit

    def _admit_waiters(self) -> None:
        while self._waiters and self._fits(self._waiters[0][0]):
            size_bytes, future = self._waiters.popleft()
            if not future.done():
                self._used += size_bytes
                future.set_result(None)
