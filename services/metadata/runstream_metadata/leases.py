"""Leases: a run whose client stops beating is marked lost, and a late beat brings it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.database import retry_on_conflict

from runstream_metadata.run_events import RunChange, run_changed
from runstream_metadata.store import lease_repository
from runstream_metadata.store.outbox_rows import insert_outbox_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.entities import Run
    from runstream_metadata.run_events import RunListener


@dataclass(frozen=True, slots=True)
class HeartbeatOutcome:
    """What became of the leases; the rest was renewed."""

    revived_run_ids: list[str]
    ignored_run_ids: list[str]


class Leases:
    """Use cases around leases; owns their transactions.

    Args:
        database: where runs are; its clock is the one that leases end by.
        clock: time of events.
        listener: told the ids of runs that changed, after the commit.
    """

    def __init__(self, database: Database, clock: Clock, listener: RunListener) -> None:
        self._database = database
        self._clock = clock
        self._listener = listener

    async def heartbeat(self, run_ids: Sequence[str]) -> HeartbeatOutcome:
        """Renew leases and revive lost runs: RUNNING again, without end time and reason.

        Ids that have no lease to renew are ignored: unknown, deleted, ended, or created without one.
        """
        return await retry_on_conflict(lambda: self._heartbeat(run_ids))

    async def sweep(self, limit: int) -> int:
        """Mark at most ``limit`` runs whose lease ran out as FAILED with the reason "lost"; returns how many.

        Any number of replicas may sweep at once: each run is marked by one of them.
        """
        async with self._database.driver() as connection, connection.transaction():
            lost = await lease_repository.expire(connection, limit)
            await self._announce(connection, lost, RunChange.RUN_CHANGE_LOST)
        self._tell(lost)
        return len(lost)

    async def _heartbeat(self, run_ids: Sequence[str]) -> HeartbeatOutcome:
        revived: list[Run] = []
        async with self._database.driver() as connection:
            renewed = await lease_repository.renew(connection, run_ids)
            others = [run_id for run_id in run_ids if run_id not in renewed]
            if others:
                async with connection.transaction():
                    revived = await lease_repository.revive(connection, others)
                    await self._announce(connection, revived, RunChange.RUN_CHANGE_REVIVED)
        self._tell(revived)
        back = {run.run_id for run in revived}
        return HeartbeatOutcome(
            revived_run_ids=[run_id for run_id in others if run_id in back],
            ignored_run_ids=[run_id for run_id in others if run_id not in back],
        )

    async def _announce(
        self, connection: Connection, runs: Sequence[Run], change: RunChange.ValueType
    ) -> None:
        if runs:
            now_ms = self._clock.now_ms()
            await insert_outbox_rows(connection, [run_changed(run, change, now_ms) for run in runs])

    def _tell(self, runs: Sequence[Run]) -> None:
        if runs:
            self._listener([run.run_id for run in runs])
