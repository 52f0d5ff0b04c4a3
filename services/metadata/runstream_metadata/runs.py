"""The life of a run: created, renamed, ended, deleted, restored. Rules are MLflow's unless said otherwise."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from runstream_common.errors import Aborted, PlatformError
from runstream_contract.limits import MAX_TAG_VALUE_LENGTH

from runstream_metadata.entities import (
    RUN_NAME_TAG,
    LifecycleStage,
    NewRun,
    Run,
    RunCheck,
    RunState,
    RunStatus,
)
from runstream_metadata.errors import RunDeleted, RunNotFound
from runstream_metadata.run_creation import create_runs
from runstream_metadata.run_events import RunChange, run_changed
from runstream_metadata.search import search_runs
from runstream_metadata.store import run_queries, run_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.run_creation import Created
    from runstream_metadata.run_events import RunListener
    from runstream_metadata.search import RunSearch

CHANGE_ATTEMPTS = 10
"""Runs of a change that found the run changed meanwhile; each loss means that another writer got through."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunUpdate:
    """What to change of a run; None means unchanged.

    A reason belongs to the status it is given with: a status that comes without one has none.
    """

    status: RunStatus | None = None
    end_time_ms: int | None = None
    name: str | None = None
    status_reason: str | None = None


class Runs:
    """Use cases around single runs; owns their transactions.

    Args:
        database: where runs are.
        clock: time of events and deletions.
        listener: told the ids of runs that changed, after the commit.
    """

    def __init__(self, database: Database, clock: Clock, listener: RunListener) -> None:
        self._database = database
        self._clock = clock
        self._listener = listener

    async def create(self, new: NewRun) -> tuple[Run, bool]:
        """Create a run; the same id again returns the run that is there.

        Returns:
            The run, without metrics and inputs when it is new, and whether it was created.

        Raises:
            ExperimentNotFound, ExperimentDeleted: it needs an active experiment.
            RunNotFound: the parent does not exist.
            RunIdTaken: the id belongs to a run of another experiment.
        """
        [outcome] = await self.create_many([new])
        if isinstance(outcome, PlatformError):
            raise outcome
        return outcome

    async def create_many(self, news: Sequence[NewRun]) -> list[Created | PlatformError]:
        """Create runs in one transaction, each with its own outcome; see ``create``.

        Raises:
            PlatformError: none could be created.
        """
        return await create_runs(self._database, self._clock, news)

    async def get(self, run_id: str) -> Run:
        """One run with all its data, also a deleted one.

        Raises:
            RunNotFound: there is none.
        """
        runs = await self.get_many([run_id])
        if not runs:
            raise RunNotFound(run_id)
        return runs[0]

    async def get_many(self, run_ids: Sequence[str]) -> list[Run]:
        """The runs that exist, with all their data, in the given order."""
        async with self._database.driver() as connection:
            return await run_queries.select_with_data(connection, run_ids)

    async def search(self, search: RunSearch, *, summaries_only: bool) -> tuple[list[Run], str]:
        """One page of a search.

        Args:
            summaries_only: leave out params, tags, inputs and metrics.

        Returns:
            The runs in the asked order, and the token of the next page; empty on the last one.

        Raises:
            InvalidArgument: filter, order, page size or token are wrong.
        """
        async with self._database.connect() as connection:
            page = await search_runs(connection, search)
            driver = await self._database.raw(connection)
            if not summaries_only:
                return await run_queries.select_with_data(driver, page.run_ids), page.next_page_token
            runs = await run_queries.select_runs(driver, page.run_ids)
            return await run_queries.with_parents(driver, runs), page.next_page_token

    async def check(self, run_ids: Sequence[str]) -> list[RunCheck]:
        """Stage and experiment of each run, in the given order; one statement, nothing is locked."""
        async with self._database.driver() as connection:
            found = await run_queries.check_runs(connection, run_ids)
        return [found.get(run_id) or RunCheck(run_id, None, None) for run_id in run_ids]

    async def update(self, run_id: str, update: RunUpdate) -> Run:
        """Change an active run; returns it with its tags.

        A status alone does not set or clear the end time (MLflow). A run that is set to RUNNING gets a whole lease.

        Raises:
            RunNotFound, RunDeleted: it needs an active run.
        """
        return await self._change(
            run_id, lambda run: _updated(run, update), RunChange.RUN_CHANGE_UPDATED, active_only=True
        )

    async def delete(self, run_id: str) -> None:
        """Mark a run deleted; repeating it changes nothing.

        Raises:
            RunNotFound: there is none.
        """
        await self._change(run_id, _with_stage(LifecycleStage.DELETED), RunChange.RUN_CHANGE_DELETED)

    async def restore(self, run_id: str) -> None:
        """Bring a deleted run back; repeating it changes nothing.

        Raises:
            RunNotFound: there is none.
        """
        await self._change(run_id, _with_stage(LifecycleStage.ACTIVE), RunChange.RUN_CHANGE_RESTORED)

    async def _change(
        self,
        run_id: str,
        rule: Callable[[Run], Run],
        change: RunChange.ValueType,
        *,
        active_only: bool = False,
    ) -> Run:
        async with self._database.driver() as connection:
            changed = await change_run(connection, run_id, rule, change, self._clock, active_only=active_only)
        self._listener([run_id])
        return changed


async def change_run(
    connection: Connection,
    run_id: str,
    rule: Callable[[Run], Run],
    change: RunChange.ValueType,
    clock: Clock,
    *,
    active_only: bool,
) -> Run:
    """Read a run, apply a rule and write it back with its event, if nobody changed it meanwhile; else again.

    Two round trips and no lock held in between, where locking the row first would take four.

    Args:
        rule: makes the changed run; an equal one means that nothing is written and nothing told.
        active_only: whether the run must not be deleted.

    Raises:
        RunNotFound, RunDeleted: as the rules ask.
        Aborted: other writers were faster each time.
    """
    for _ in range(CHANGE_ATTEMPTS):
        state = await run_repository.select_state(connection, run_id)
        if state is None:
            raise RunNotFound(run_id)
        if active_only and state.run.lifecycle_stage is not LifecycleStage.ACTIVE:
            raise RunDeleted(run_id)
        changed = rule(state.run)
        if changed == state.run:
            return changed
        written, lease_expire_time_ms = await _write(connection, state, changed, change, clock.now_ms())
        if written:
            return dataclasses.replace(changed, lease_expire_time_ms=lease_expire_time_ms)
    raise Aborted(f"run {run_id} is being changed by others; try again", reason="CONCURRENT_CHANGE")


async def _write(
    connection: Connection, state: RunState, changed: Run, change: RunChange.ValueType, now_ms: int
) -> tuple[bool, int | None]:
    resumed = changed.status is RunStatus.RUNNING and state.run.status is not RunStatus.RUNNING
    return await run_repository.update_run(
        connection,
        state,
        changed,
        run_changed(changed, change, now_ms),
        deleted_time_ms=now_ms if changed.lifecycle_stage is LifecycleStage.DELETED else None,
        renew_lease=resumed,
    )


def _updated(run: Run, update: RunUpdate) -> Run:
    reason = update.status_reason
    if reason is None:
        reason = run.status_reason if update.status is None else ""
    name = (update.name or run.name)[:MAX_TAG_VALUE_LENGTH]
    return dataclasses.replace(
        run,
        status=update.status or run.status,
        status_reason=reason,
        end_time_ms=run.end_time_ms if update.end_time_ms is None else update.end_time_ms,
        name=name,
        tags=run.tags if name == run.name else dict(sorted({**run.tags, RUN_NAME_TAG: name}.items())),
    )


def _with_stage(stage: LifecycleStage) -> Callable[[Run], Run]:
    return lambda run: dataclasses.replace(run, lifecycle_stage=stage)
