"""Experiments: created, renamed, tagged, deleted and restored with all their runs. Rules are MLflow's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncpg import UniqueViolationError
from runstream_common.database import retry_on_conflict
from runstream_common.violations import Violations

from runstream_metadata import rules
from runstream_metadata.entities import Experiment, LifecycleStage
from runstream_metadata.errors import (
    ExperimentDeleted,
    ExperimentNameTaken,
    ExperimentNotFound,
    ExperimentTagNotFound,
)
from runstream_metadata.run_events import RunChange, run_changed
from runstream_metadata.search import search_experiments
from runstream_metadata.search.fields import DATASET_CONTEXT_TAG
from runstream_metadata.store import experiment_queries, experiment_repository, input_repository
from runstream_metadata.store.experiment_repository import StageChange
from runstream_metadata.store.outbox_rows import insert_outbox_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.entities import DatasetSummary
    from runstream_metadata.run_events import RunListener
    from runstream_metadata.search import ExperimentSearch

CASCADE_BATCH_RUNS = 1_000
"""Runs that one statement of a deletion or restoration changes; keeps its memory bounded whatever the experiment."""

MAX_DATASETS = 1_000
"""Datasets that one list shows (MLflow)."""

DEFAULT_EXPERIMENT_ID = 0
"""Experiment "Default", which every deployment has."""


@dataclass(frozen=True, slots=True)
class NewExperiment:
    """What an experiment is created from."""

    name: str
    artifact_location: str = ""
    tags: Sequence[tuple[str, str]] = ()


class Experiments:
    """Use cases around experiments; owns their transactions.

    Args:
        database: where experiments are.
        clock: creation and update times.
        listener: told the ids of runs that were deleted or restored with their experiment, after the commit.
        artifact_root: where artifacts of an experiment without a location go, its id put behind.
    """

    def __init__(
        self, database: Database, clock: Clock, listener: RunListener, *, artifact_root: str
    ) -> None:
        self._database = database
        self._clock = clock
        self._listener = listener
        self._artifact_root = artifact_root.rstrip("/")

    async def create(self, new: NewExperiment, *, get_if_exists: bool = False) -> tuple[Experiment, bool]:
        """Create an experiment.

        Args:
            get_if_exists: return the active experiment of that name instead of refusing.

        Returns:
            The experiment, and whether it was created.

        Raises:
            InvalidArgument: name, location or tags are wrong.
            ExperimentNameTaken: an experiment has the name; with ``get_if_exists`` only if it is deleted.
        """
        violations = Violations()
        rules.experiment_name(new.name, violations)
        rules.artifact_location(new.artifact_location, violations)
        tags = rules.experiment_tags(list(new.tags), violations)
        violations.check()
        async with self._database.driver() as connection:
            # Looked up first: the insert would draw an id from the sequence each time.
            found = await experiment_queries.select_by_name(connection, new.name) if get_if_exists else None
            created = found is None and await experiment_repository.insert_experiment(
                connection, new.name, new.artifact_location, self._artifact_root, tags, self._clock.now_ms()
            )
            if created:
                return created, True
            found = found or await experiment_queries.select_by_name(connection, new.name)
        deleted = found is not None and found.lifecycle_stage is LifecycleStage.DELETED
        if found is None or deleted or not get_if_exists:
            raise ExperimentNameTaken(new.name, deleted=deleted)
        return found, False

    async def get(self, experiment_id: int) -> Experiment:
        """One experiment, also a deleted one.

        Raises:
            ExperimentNotFound: there is none.
        """
        found = await self.get_many([experiment_id])
        if not found:
            raise _not_found(experiment_id)
        return found[0]

    async def get_by_name(self, name: str) -> Experiment:
        """One experiment, also a deleted one; case matters.

        Raises:
            ExperimentNotFound: there is none.
        """
        async with self._database.driver() as connection:
            found = await experiment_queries.select_by_name(connection, name)
        if found is None:
            raise ExperimentNotFound(f"no experiment is named {name!r}")
        return found

    async def get_many(self, experiment_ids: Sequence[int]) -> list[Experiment]:
        """The experiments that exist, in the given order."""
        async with self._database.driver() as connection:
            return await experiment_queries.select_experiments(connection, experiment_ids)

    async def search(self, search: ExperimentSearch) -> tuple[list[Experiment], str]:
        """One page of a search: experiments in the asked order, and the token of the next page.

        Raises:
            InvalidArgument: filter, order, page size or token are wrong.
        """
        async with self._database.connect() as connection:
            page = await search_experiments(connection, search)
            driver = await self._database.raw(connection)
            found = await experiment_queries.select_experiments(driver, page.experiment_ids)
            return found, page.next_page_token

    async def list_datasets(self, experiment_ids: Sequence[int]) -> list[DatasetSummary]:
        """At most MAX_DATASETS datasets that runs of the experiments used, each once a context."""
        async with self._database.driver() as connection:
            return await input_repository.list_datasets(
                connection, experiment_ids, DATASET_CONTEXT_TAG, MAX_DATASETS
            )

    async def rename(self, experiment_id: int, name: str) -> Experiment:
        """Rename an active experiment; its own name is fine.

        Raises:
            ExperimentNotFound, ExperimentDeleted: it needs an active experiment.
            ExperimentNameTaken: another one has the name.
        """
        violations = Violations()
        rules.experiment_name(name, violations)
        violations.check()
        async with self._database.driver() as connection:
            try:
                renamed = await experiment_repository.rename(
                    connection, experiment_id, name, self._clock.now_ms()
                )
            except UniqueViolationError as error:
                raise ExperimentNameTaken(name) from error
        experiment = await self.get(experiment_id)
        if not renamed:
            raise ExperimentDeleted(experiment_id)
        return experiment

    async def delete(self, experiment_id: int) -> None:
        """Mark an experiment and all its runs deleted.

        Raises:
            ExperimentNotFound: there is none, or it is deleted already (MLflow).
        """
        change = StageChange(LifecycleStage.ACTIVE, LifecycleStage.DELETED, self._clock.now_ms())
        await self._move(experiment_id, change, RunChange.RUN_CHANGE_DELETED)

    async def restore(self, experiment_id: int) -> None:
        """Restore an experiment and all its runs, also those that were deleted by themselves before (MLflow).

        Raises:
            ExperimentNotFound: there is none, or it is not deleted (MLflow).
        """
        change = StageChange(LifecycleStage.DELETED, LifecycleStage.ACTIVE, self._clock.now_ms())
        await self._move(experiment_id, change, RunChange.RUN_CHANGE_RESTORED)

    async def set_tags(self, experiment_id: int, tags: Sequence[tuple[str, str]]) -> None:
        """Set tags of an active experiment; the last value of a key wins.

        Raises:
            InvalidArgument: keys or values are wrong.
            ExperimentNotFound, ExperimentDeleted: it needs an active experiment.
        """
        violations = Violations()
        checked = rules.experiment_tags(list(tags), violations)
        if not checked:
            violations.add("tags", "is required")
        violations.check()
        async with self._database.driver() as connection, connection.transaction():
            await self._touch(connection, experiment_id)
            await experiment_repository.upsert_tags(connection, experiment_id, checked)

    async def delete_tag(self, experiment_id: int, key: str) -> None:
        """Delete a tag of an active experiment.

        Raises:
            ExperimentNotFound, ExperimentDeleted: it needs an active experiment.
            ExperimentTagNotFound: it has no such tag.
        """
        async with self._database.driver() as connection, connection.transaction():
            await self._touch(connection, experiment_id)
            if not await experiment_repository.delete_tag(connection, experiment_id, key):
                raise ExperimentTagNotFound(f"experiment {experiment_id} has no tag {key!r}")

    async def _touch(self, connection: Connection, experiment_id: int) -> None:
        stage = await experiment_repository.touch(connection, experiment_id, self._clock.now_ms())
        if stage is None:
            raise _not_found(experiment_id)
        if stage is not LifecycleStage.ACTIVE:
            raise ExperimentDeleted(experiment_id)

    async def _move(self, experiment_id: int, change: StageChange, told: RunChange.ValueType) -> None:
        run_ids = await retry_on_conflict(lambda: self._move_with_runs(experiment_id, change, told))
        self._listener(run_ids)

    async def _move_with_runs(
        self, experiment_id: int, change: StageChange, told: RunChange.ValueType
    ) -> list[str]:
        run_ids: list[str] = []
        async with self._database.driver() as connection, connection.transaction():
            if not await experiment_repository.set_stage(connection, experiment_id, change):
                raise ExperimentNotFound(
                    f"experiment {experiment_id} does not exist or is not {change.before.name.lower()}",
                    metadata={"experiment_id": str(experiment_id)},
                )
            while runs := await experiment_repository.set_run_stages(
                connection, experiment_id, change, CASCADE_BATCH_RUNS
            ):
                events = [run_changed(run, told, change.time_ms) for run in runs]
                await insert_outbox_rows(connection, events)
                run_ids.extend(run.run_id for run in runs)
        return run_ids


def _not_found(experiment_id: int) -> ExperimentNotFound:
    return ExperimentNotFound(
        f"experiment {experiment_id} does not exist", metadata={"experiment_id": str(experiment_id)}
    )
