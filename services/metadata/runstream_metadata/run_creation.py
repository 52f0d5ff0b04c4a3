"""Creating runs, many in one transaction: what one of them is refused for does not touch the others."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeAlias

from runstream_common.errors import FieldViolation, InvalidArgument, PlatformError
from runstream_contract.limits import MAX_TAG_VALUE_LENGTH

from runstream_metadata.entities import PARENT_RUN_TAG, RUN_NAME_TAG, LifecycleStage, NewRun, Run, RunStatus
from runstream_metadata.errors import ExperimentDeleted, ExperimentNotFound, RunIdTaken, RunNotFound
from runstream_metadata.run_events import RunChange, run_changed
from runstream_metadata.run_names import random_run_name
from runstream_metadata.store import run_inserts, run_queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.store.run_inserts import InsertOutcome

Created: TypeAlias = tuple[Run, bool]
"""A run, without metrics and inputs when it is new, and whether it was created."""


async def create_runs(
    database: Database, clock: Clock, news: Sequence[NewRun]
) -> list[Created | PlatformError]:
    """Create runs in one transaction; an id that is there already returns the run that has it.

    Returns:
        For each run what became of it: the run, or one of

        - ExperimentNotFound, ExperimentDeleted: it needs an active experiment;
        - RunNotFound: the parent does not exist;
        - RunIdTaken: the id belongs to a run of another experiment;
        - InvalidArgument: a text that the database cannot hold.

    Raises:
        PlatformError: the database is away or too busy; nothing was created.
    """
    try:
        return await _create_together(database, clock, news)
    except InvalidArgument as error:
        if len(news) == 1:
            return [error]
        # The database does not tell which of them it was.
        return [outcome for new in news for outcome in await create_runs(database, clock, [new])]


async def _create_together(
    database: Database, clock: Clock, news: Sequence[NewRun]
) -> list[Created | PlatformError]:
    first: dict[str, NewRun] = {}
    for new in news:
        first.setdefault(new.run_id, new)
    waves = list(_parents_first(list(first.values())))
    found: dict[str, Created | PlatformError] = {}
    async with database.driver() as connection:
        if len(waves) == 1:
            found = await _insert(connection, clock, waves[0])
        else:
            async with connection.transaction():
                for wave in waves:
                    found |= await _insert(connection, clock, wave)
        again = [new for new in news if new is not first[new.run_id]]
        repeats = iter(await _existing(connection, again))
    return [next(repeats) if new is not first[new.run_id] else found[new.run_id] for new in news]


def _parents_first(news: list[NewRun]) -> Iterator[list[NewRun]]:
    """Groups to insert one after another, so that a run finds the parent that is created with it."""
    while news:
        waiting = {new.run_id for new in news}
        ready = [new for new in news if new.parent_run_id not in waiting]
        # A circle of parents has no beginning: all of it goes together, and no parent is found.
        yield ready or news
        news = [new for new in news if ready and new.parent_run_id in waiting]


async def _insert(
    connection: Connection, clock: Clock, news: Sequence[NewRun]
) -> dict[str, Created | PlatformError]:
    runs = [_run_to_create(new) for new in news]
    now_ms = clock.now_ms()
    events = [run_changed(run, RunChange.RUN_CHANGE_CREATED, now_ms) for run in runs]
    outcomes = await run_inserts.insert_runs(connection, news, events)
    found: dict[str, Created | PlatformError] = {}
    there: list[NewRun] = []
    for new, run, outcome in zip(news, runs, outcomes, strict=True):
        if outcome.created:
            found[new.run_id] = _stored(run, outcome), True
        elif outcome.experiment_stage is None:
            found[new.run_id] = ExperimentNotFound(f"experiment {new.experiment_id} does not exist")
        elif outcome.experiment_stage is not LifecycleStage.ACTIVE:
            found[new.run_id] = ExperimentDeleted(new.experiment_id)
        else:
            there.append(new)
    existing = await _existing(connection, there)
    return found | dict(zip((new.run_id for new in there), existing, strict=True))


async def _existing(connection: Connection, news: Sequence[NewRun]) -> list[Created | PlatformError]:
    """The runs that have the ids already; without one the parent must have been missing."""
    if not news:
        return []
    run_ids = list(dict.fromkeys(new.run_id for new in news))
    runs = {run.run_id: run for run in await run_queries.select_with_data(connection, run_ids)}
    outcomes: list[Created | PlatformError] = []
    for new in news:
        run = runs.get(new.run_id)
        if run is None:
            outcomes.append(RunNotFound(new.parent_run_id))
        elif run.experiment_id != new.experiment_id:
            outcomes.append(RunIdTaken(new.run_id, run.experiment_id))
        else:
            outcomes.append((run, False))
    return outcomes


def _stored(run: Run, outcome: InsertOutcome) -> Run:
    return dataclasses.replace(
        run, artifact_uri=outcome.artifact_uri, lease_expire_time_ms=outcome.lease_expire_time_ms
    )


def complete_new_run(new: NewRun) -> NewRun:
    """Fill in name, name tag and parent tag of a run to create.

    Raises:
        InvalidArgument: the name differs from the tag that mirrors it.
    """
    tagged = new.tags.get(RUN_NAME_TAG, "")
    if new.name and tagged and new.name[:MAX_TAG_VALUE_LENGTH] != tagged:
        description = f"differs from the tag {RUN_NAME_TAG}; give one of them, or the same"
        raise InvalidArgument([FieldViolation("run_name", description)])
    name = (new.name or tagged or random_run_name())[:MAX_TAG_VALUE_LENGTH]
    tags = {**new.tags, RUN_NAME_TAG: name}
    if new.parent_run_id:
        tags[PARENT_RUN_TAG] = new.parent_run_id
    return dataclasses.replace(new, name=name, tags=dict(sorted(tags.items())))


def _run_to_create(new: NewRun) -> Run:
    return Run(
        run_id=new.run_id,
        experiment_id=new.experiment_id,
        name=new.name,
        user_id=new.user_id,
        status=RunStatus.RUNNING,
        status_reason="",
        start_time_ms=new.start_time_ms,
        end_time_ms=None,
        artifact_uri="",
        lifecycle_stage=LifecycleStage.ACTIVE,
        parent_run_id=new.tags.get(PARENT_RUN_TAG, ""),
        tags=new.tags,
        params=new.params,
    )
