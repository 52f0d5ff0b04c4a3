"""Forgets batch ids after their keeping time; the bus delivers nothing that old again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runstream_common.periodic import run_periodically

from runstream_metadata import instruments
from runstream_metadata.store import progress_queries

if TYPE_CHECKING:
    from runstream_common.database import Database

BATCHES_AT_ONCE: Final = 10_000
"""Ids deleted in one statement: long enough to get on, short enough to hold no one up."""


class BatchExpiry:
    """Deletes old batch ids; any number of replicas may.

    Args:
        keep_seconds: how long an id is kept. It must exceed the retention of the topic and the longest time that a
            client may keep a batch in its spool; an older repeat would be stored again, which no answer shows, since
            exact repeats of points count once.
    """

    def __init__(self, database: Database, keep_seconds: float) -> None:
        self._database = database
        self._keep_seconds = keep_seconds

    async def expire_all(self, at_once: int = BATCHES_AT_ONCE) -> int:
        """Delete every id that is old enough, in bounded statements; returns how many."""
        total = 0
        while True:
            async with self._database.driver() as connection:
                forgotten = await progress_queries.forget_batches(connection, self._keep_seconds, at_once)
            instruments.FORGOTTEN_BATCHES.inc(forgotten)
            total += forgotten
            if forgotten < at_once:
                return total


async def run_expire_batches(expiry: BatchExpiry, interval_seconds: float) -> None:
    """Forget old batch ids until cancelled.

    Args:
        interval_seconds: time between two rounds.
    """
    await run_periodically("expire_batches", expiry.expire_all, interval_seconds)
