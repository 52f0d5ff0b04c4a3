"""Looks for runs whose lease ran out, every few seconds and in bounded batches."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog
from runstream_common.errors import PlatformError

if TYPE_CHECKING:
    from runstream_metadata.leases import Leases

log = structlog.get_logger(__name__)


class LeaseSweeper:
    """Runs ``Leases.sweep`` at an interval; any number of replicas may.

    Args:
        leases: what to sweep.
        interval_seconds: time between two sweeps; a little jitter keeps replicas apart.
        batch_runs: most runs marked in one transaction.
    """

    def __init__(self, leases: Leases, *, interval_seconds: float, batch_runs: int) -> None:
        self._leases = leases
        self._interval_seconds = interval_seconds
        self._batch_runs = batch_runs

    async def run(self) -> None:
        """Sweep until cancelled. A database that is away is waited for; anything else ends the service."""
        while True:
            try:
                await self.sweep_all()
            except PlatformError as error:
                if not error.retryable:
                    raise
                log.warning("lease_sweep_postponed", reason=error.reason, error=error.message)
            await asyncio.sleep(self._interval_seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def sweep_all(self) -> int:
        """Mark everything that has expired by now; returns how many runs."""
        total = 0
        while True:
            lost = await self._leases.sweep(self._batch_runs)
            total += lost
            if lost < self._batch_runs:
                break
        if total:
            log.info("runs_marked_lost", run_count=total)
        return total
