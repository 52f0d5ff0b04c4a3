"""Tells every process which runs changed, gathered for a moment so that commits do not queue behind NOTIFY.

PostgreSQL lets only one transaction with a NOTIFY commit at a time. So changes are told after their commit, many in one
statement. A process that dies in between tells nothing: watchers also look by themselves from time to time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from runstream_common.errors import PlatformError

from runstream_metadata.live import CHANNEL, payload_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runstream_common.database import Database

    from runstream_metadata.live import LiveHub

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.05
"""How long changes are gathered; a person does not notice it."""


class RunAnnouncer:
    """Gathers changed runs and tells of them.

    Args:
        hub: wakes the watchers of this process, at once.
        database: carries the news to the other processes.
        forget: drops what this process remembers of a run.
    """

    def __init__(self, hub: LiveHub, database: Database, forget: Callable[[str], None]) -> None:
        self._hub = hub
        self._database = database
        self._forget = forget
        self._changed: set[str] = set()
        self._any = asyncio.Event()

    def __call__(self, run_ids: Sequence[str]) -> None:
        """Take note that runs changed; neither blocks nor raises."""
        for run_id in run_ids:
            self._forget(run_id)
        self._hub.wake(run_ids)
        self._changed.update(run_ids)
        if self._changed:
            self._any.set()

    async def run(self) -> None:
        """Tell of changes until cancelled. While the database is away, nobody is told: there is nothing to read."""
        while True:
            await self._any.wait()
            await asyncio.sleep(GATHER_SECONDS)
            await self.announce()

    async def announce(self) -> None:
        """Tell of what was gathered so far."""
        self._any.clear()
        changed, self._changed = self._changed, set()
        if not changed:
            return
        try:
            async with self._database.driver() as connection:
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload_for(changed))
        except PlatformError as error:
            log.warning("run_changes_not_announced", run_count=len(changed), reason=error.reason)
