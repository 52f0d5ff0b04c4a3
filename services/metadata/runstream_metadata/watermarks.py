"""How far the bus has been written into the store, and waiting for it (read your writes)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from runstream_common.errors import DeadlineExceeded, InvalidArgument, Unavailable

from runstream_metadata.bus_progress import TOPIC
from runstream_metadata.store import progress_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.messages import Position
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.bus_progress import BusProgress
    from runstream_metadata.live import LiveHub, Watch
    from runstream_metadata.store.metric_writer import Mark

CONSUMED_TOPICS: Final = frozenset({TOPIC})

REPORTED_EXPERIMENTS: Final = 100
"""Experiments whose watermark a status tells; any other one comes with a read's answer."""

_BUS_AWAY_SECONDS: Final = 1.0
"""How long reads do not ask a bus again that has not answered: each would wait for all of its time."""

log = structlog.get_logger(__name__)


class Watermarks:
    """Progress of the metric write path, of all replicas.

    Args:
        progress: knows what the bus still holds for this service.
    """

    def __init__(self, database: Database, hub: LiveHub, clock: Clock, progress: BusProgress) -> None:
        self._database = database
        self._hub = hub
        self._clock = clock
        self._progress = progress
        self._bus_away_until = 0.0

    async def wait_until_applied(self, positions: Sequence[Position], timeout_ms: int) -> bool:
        """Wait until the messages at the positions, and those before them, are queryable or parked as bad.

        Args:
            positions: as the acknowledgements gave them; none is no wait.
            timeout_ms: longest wait, milliseconds.

        Returns:
            False when the time was up first.

        Raises:
            InvalidArgument: a topic that this service does not consume.
        """
        for position in positions:
            if position.topic not in CONSUMED_TOPICS:
                raise InvalidArgument.of(
                    "wait_for.topic",
                    f"{position.topic!r} is not written by this service",
                    reason="UNKNOWN_TOPIC",
                )
        if not positions:
            return True
        deadline = self._clock.monotonic() + timeout_ms / 1000
        with self._hub.watch_progress() as watch:
            while not await self._progress.applied(positions):
                if not await self._pause(watch, deadline):
                    return False
        return True

    async def wait_until_latest(self, timeout_ms: int) -> bool:
        """Wait until everything is applied that the bus had accepted when this was called.

        Args:
            timeout_ms: longest wait, milliseconds.

        Returns:
            False when the time was up first, or the bus does not answer: what is there can still be read.
        """
        deadline = self._clock.monotonic() + timeout_ms / 1000
        with self._hub.watch_progress() as watch:
            positions = await self._unapplied(timeout_ms / 1000)
            if positions is None:
                return False
            while positions:
                if not await self._pause(watch, deadline):
                    return False
                if await self._progress.applied(positions):
                    return True
        return True

    async def written_up_to_ms(self, experiment_id: int) -> int:
        """Accept time of the newest points written, milliseconds since the Unix epoch; 0 when there are none."""
        async with self._database.driver() as connection:
            return await progress_queries.written_up_to_ms(connection, experiment_id)

    async def recent_scopes(self) -> dict[str, int]:
        """The experiments that were written last, newest first: accept time they are written up to, ms since the epoch."""
        async with self._database.driver() as connection:
            found = await progress_queries.recent_experiments(connection, REPORTED_EXPERIMENTS)
        return {f"experiment/{experiment_id}": time_ms for experiment_id, time_ms in found}

    async def marks(self) -> list[Mark]:
        """How far each partition has been handled."""
        async with self._database.driver() as connection:
            return await progress_queries.marks(connection)

    async def _unapplied(self, timeout_seconds: float) -> Sequence[Position] | None:
        """What is to be waited for; None when the bus does not answer."""
        if self._clock.monotonic() < self._bus_away_until:
            return None
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._progress.unapplied()
        except (TimeoutError, Unavailable, DeadlineExceeded) as error:
            log.warning("bus_end_unknown", error=str(error) or type(error).__name__)
            self._bus_away_until = self._clock.monotonic() + _BUS_AWAY_SECONDS
            return None

    async def _pause(self, watch: Watch, deadline: float) -> bool:
        """Wait for a reason to look again; False when there is no time left."""
        left = deadline - self._clock.monotonic()
        if left <= 0:
            return False
        await watch.wait(min(left, self._progress.recheck_seconds))
        return True
