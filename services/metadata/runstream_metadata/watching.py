"""Following one run as it changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runstream_metadata.entities import Run
    from runstream_metadata.live import LiveHub
    from runstream_metadata.runs import Runs

LOOK_SECONDS = 5.0
"""A watcher looks at least this often, in case that it was not woken."""

LEAST_PAUSE_SECONDS = 0.1
"""A run that is written to all the time is read no more often than this."""


async def watch_run(runs: Runs, hub: LiveHub, run_id: str) -> AsyncIterator[Run]:
    """The run now and after every change, metrics included, until it has ended.

    Changes that come close together are seen as one.

    Raises:
        RunNotFound: there is none.
    """
    seen: Run | None = None
    with hub.watch_runs([run_id]) as watch:
        while True:
            run = await runs.get(run_id)
            if run != seen:
                yield run
                seen = run
            if run.status.ended:
                return
            await asyncio.sleep(LEAST_PAUSE_SECONDS)
            await watch.wait(LOOK_SECONDS)
