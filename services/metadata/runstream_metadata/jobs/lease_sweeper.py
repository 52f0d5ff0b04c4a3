"""Looks for runs whose lease ran out, every few seconds and in bounded batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.periodic import run_periodically

if TYPE_CHECKING:
    from runstream_metadata.leases import Leases


class LeaseSweeper:
    """Marks runs lost; any number of replicas may.

    Args:
        leases: what to sweep.
        batch_runs: most runs marked in one transaction.
    """

    def __init__(self, leases: Leases, *, batch_runs: int) -> None:
        self._leases = leases
        self._batch_runs = batch_runs

    async def sweep_all(self) -> int:
        """Mark everything that has expired by now; returns how many runs."""
        total = 0
        while True:
            lost = await self._leases.sweep(self._batch_runs)
            total += lost
            if lost < self._batch_runs:
                return total


async def run_lease_sweeper(sweeper: LeaseSweeper, interval_seconds: float) -> None:
    """Mark lost runs until cancelled.

    Args:
        interval_seconds: time between two looks.
    """
    await run_periodically("lease_sweep", sweeper.sweep_all, interval_seconds)
