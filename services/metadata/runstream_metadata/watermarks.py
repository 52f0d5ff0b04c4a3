"""How far the bus has been written into the store, and waiting for it (read your writes)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from runstream_common.errors import InvalidArgument

from runstream_metadata.store import progress_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.messages import Position
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.live import LiveHub, Watch
    from runstream_metadata.store.metric_writer import Mark

CONSUMED_TOPICS: Final = frozenset({"run-logged"})
CONSUMER_GROUP: Final = "metadata"

REPORTED_EXPERIMENTS: Final = 100
"""Experiments whose watermark a status tells; any other one comes with a read's answer."""

_RECHECK_SECONDS: Final = 1.0
"""How long a wait relies on being woken; then it looks by itself, should a notification have been lost."""

_PENDING_RECHECK_SECONDS: Final = 0.005
"""The queue drops a message just after the transaction that woke us, without another wake-up."""


class Backlog(Protocol):
    """The part of a bus that knows which messages still wait."""

    async def applied(self, group: str, positions: Sequence[Position]) -> bool:
        """Whether the group has handled everything up to the positions."""
        ...


class Watermarks:
    """Progress of the metric write path, of all replicas.

    Args:
        backlog: asked instead of the watermarks, for a bus whose messages are not handled strictly in the order of their
            positions (the Postgres bus); None where a partition's offset tells all (Kafka).
    """

    def __init__(
        self, database: Database, hub: LiveHub, clock: Clock, *, backlog: Backlog | None = None
    ) -> None:
        self._database = database
        self._hub = hub
        self._clock = clock
        self._backlog = backlog

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
            while not await self._applied(positions):
                if not await self._pause(watch, deadline):
                    return False
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

    async def _applied(self, positions: Sequence[Position]) -> bool:
        if self._backlog is not None:
            return await self._backlog.applied(CONSUMER_GROUP, positions)
        reached = {(mark.topic, mark.partition): mark.applied_offset for mark in await self.marks()}
        return all(reached.get((p.topic, p.partition), 0) > p.offset for p in positions)

    async def _pause(self, watch: Watch, deadline: float) -> bool:
        """Wait for a reason to look again; False when there is no time left."""
        left = deadline - self._clock.monotonic()
        if left <= 0:
            return False
        longest = _RECHECK_SECONDS if self._backlog is None else _PENDING_RECHECK_SECONDS
        await watch.wait(min(left, longest))
        return True
