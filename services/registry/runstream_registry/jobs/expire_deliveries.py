"""Forgets old deliveries and secrets that no longer sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runstream_common.periodic import run_periodically

from runstream_registry.store import delivery_repository, webhook_repository
from runstream_registry.webhooks import delivery_metrics

if TYPE_CHECKING:
    from runstream_common.database import Database

DELETED_AT_ONCE: Final = 1_000
"""Deliveries of one statement: their bodies may be large, and nobody should wait for the locks."""


class DeliveryExpiry:
    """Deletes what is past its time; any number of replicas may.

    Args:
        keep_days: how long deliveries are kept.
    """

    def __init__(self, database: Database, keep_days: int) -> None:
        self._database = database
        self._keep_days = keep_days

    async def expire_all(self, at_once: int = DELETED_AT_ONCE) -> int:
        """Delete everything that is old enough, in bounded statements; returns how many deliveries."""
        async with self._database.driver() as connection:
            await webhook_repository.forget_old_secrets(connection)
        total = 0
        while True:
            async with self._database.driver() as connection:
                deleted = await delivery_repository.delete_old(connection, self._keep_days, at_once)
            delivery_metrics.FORGOTTEN.inc(deleted)
            total += deleted
            if deleted < at_once:
                return total


async def run_expire_deliveries(expiry: DeliveryExpiry, interval_seconds: float) -> None:
    """Forget old deliveries until cancelled.

    Args:
        interval_seconds: time between two rounds.
    """
    await run_periodically("expire_deliveries", expiry.expire_all, interval_seconds)
