"""How far the bus goes and how far this service has come: what a reader must wait for, on either transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from runstream_metadata.shared_look import SharedLook
from runstream_metadata.store import progress_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.messages import Backlog, Position
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.store.metric_writer import Mark

TOPIC: Final = "run-logged"
CONSUMER_GROUP: Final = "metadata"

COMMITTED_EVERY_SECONDS: Final = 1.0
"""How often a waiter asks Kafka itself; only a store that was restored from a backup is behind what Kafka knows."""


class BusEnds(Protocol):
    """The part of the bus that is asked."""

    async def backlog(self, topic: str, group: str) -> Backlog:
        """How far a topic goes, and what of it a group has not handled."""
        ...

    async def applied(self, group: str, positions: Sequence[Position]) -> bool:
        """Whether a group has handled everything up to the positions."""
        ...


class BusProgress(Protocol):
    """What a wait asks. Concurrent waits share the looks."""

    recheck_seconds: float
    """How long a wait relies on being woken; then it looks by itself."""

    async def unapplied(self) -> Sequence[Position]:
        """Positions such that all is applied which the bus had accepted before, once they are; none if all is already."""
        ...

    async def applied(self, positions: Sequence[Position]) -> bool:
        """Whether everything up to the positions is queryable, or parked as bad."""
        ...


class QueueProgress:
    """For the PostgreSQL bus, which hands messages out in no strict order and knows which ones wait."""

    # The queue drops a message just after the transaction that woke us, without another wake-up.
    recheck_seconds = 0.005

    def __init__(self, bus: BusEnds) -> None:
        self._look = SharedLook(lambda: bus.backlog(TOPIC, CONSUMER_GROUP))

    async def unapplied(self) -> Sequence[Position]:
        """See BusProgress."""
        backlog = await self._look()
        return () if backlog.handled(backlog.ends) else backlog.ends

    async def applied(self, positions: Sequence[Position]) -> bool:
        """See BusProgress."""
        return (await self._look()).handled(positions)


class PartitionProgress:
    """For Kafka, where a partition is handled in order, so that the store's own marks tell all.

    Args:
        database: where the marks are, written with the points.
        bus: tells where partitions end; None when only known positions are waited for.
    """

    # Should a notification have been lost.
    recheck_seconds = 1.0

    def __init__(self, database: Database, clock: Clock, bus: BusEnds | None = None) -> None:
        self._database = database
        self._clock = clock
        self._bus = bus
        self._marks = SharedLook(self._read_marks)
        self._ends = SharedLook(self._read_ends)
        self._asked_at = clock.monotonic()

    async def unapplied(self) -> Sequence[Position]:
        """See BusProgress."""
        ends = await self._ends()
        marks = await self._marks()
        return [end for end in ends if not _reached(marks, end)]

    async def applied(self, positions: Sequence[Position]) -> bool:
        """See BusProgress."""
        marks = await self._marks()
        missing = [position for position in positions if not _reached(marks, position)]
        if not missing or self._bus is None:
            return not missing
        if self._clock.monotonic() - self._asked_at < COMMITTED_EVERY_SECONDS:
            return False
        self._asked_at = self._clock.monotonic()
        return await self._bus.applied(CONSUMER_GROUP, missing)

    async def _read_ends(self) -> Sequence[Position]:
        if self._bus is None:
            return ()
        return (await self._bus.backlog(TOPIC, CONSUMER_GROUP)).ends

    async def _read_marks(self) -> dict[tuple[str, int], int]:
        async with self._database.driver() as connection:
            marks: list[Mark] = await progress_queries.marks(connection)
        return {(mark.topic, mark.partition): mark.applied_offset for mark in marks}


def _reached(marks: dict[tuple[str, int], int], position: Position) -> bool:
    return marks.get((position.topic, position.partition), 0) > position.offset
