"""What is logged to a run synchronously: params, tags and inputs. Rules are MLflow's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from asyncpg import NotNullViolationError, UniqueViolationError
from runstream_common.database import retry_on_conflict
from runstream_common.violations import Violations
from runstream_contract import limits

from runstream_metadata import rules
from runstream_metadata.entities import RUN_NAME_TAG, Dataset, DatasetInput, LifecycleStage, Run
from runstream_metadata.errors import OutputExists, ParamImmutable, RunDeleted, RunNotFound, TagNotFound
from runstream_metadata.run_events import RunChange
from runstream_metadata.runs import change_run
from runstream_metadata.store import input_repository, model_links, run_queries, run_repository

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.entities import ModelOutput
    from runstream_metadata.run_events import RunListener

MAX_INPUTS = 1_000
"""Datasets, or models, in one LogInputs or LogOutputs."""

MAX_MODEL_ID_LENGTH = 255
"""Characters of the id of a linked model: it need not exist, nor have the form of one (MLflow)."""


class RunData:
    """Use cases that add to a run; owns their transactions.

    Args:
        database: where runs are.
        clock: time of events.
        listener: told the ids of runs that changed, after the commit.
    """

    def __init__(self, database: Database, clock: Clock, listener: RunListener) -> None:
        self._database = database
        self._clock = clock
        self._listener = listener

    async def log_batch(
        self, run_id: str, params: Sequence[tuple[str, str]], tags: Sequence[tuple[str, str]]
    ) -> None:
        """Log params and set tags, all or nothing; parallel calls for one run are normal.

        Args:
            params: at most 100; a key may come once. The value that is there already is fine.
            tags: at most 100; the last value of a key wins. The tag "mlflow.runName" renames the run.

        Raises:
            InvalidArgument: keys or numbers are wrong.
            ParamImmutable: a param has another value already.
            RunNotFound, RunDeleted: it needs an active run.
        """
        violations = Violations()
        rules.at_most("params", params, limits.MAX_PARAMS_PER_BATCH, violations)
        rules.at_most("tags", tags, limits.MAX_TAGS_PER_BATCH, violations)
        checked_params = rules.params(list(params), violations)
        checked_tags = rules.tags(list(tags), violations)
        violations.check()
        await retry_on_conflict(lambda: self._write(run_id, checked_params, checked_tags))
        self._listener([run_id])

    async def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag of an active run. The run keeps its name when the tag that mirrors it is deleted.

        Raises:
            TagNotFound: it has no such tag.
            RunNotFound, RunDeleted: it needs an active run.
        """
        async with self._database.driver() as connection:
            stage, deleted = await run_repository.delete_tag(connection, run_id, key)
        require_active(run_id, stage)
        if not deleted:
            raise TagNotFound(run_id, key)
        self._listener([run_id])

    async def log_inputs(
        self, run_id: str, inputs: Sequence[DatasetInput], model_ids: Sequence[str] = ()
    ) -> None:
        """Record datasets and logged models as inputs; a link that is there stays as it is, tags included.

        Raises:
            InvalidArgument: names, digests, tags or ids are wrong.
            RunNotFound, RunDeleted: it needs an active run.
        """
        _check_inputs(inputs, model_ids)
        unique: dict[tuple[str, str], DatasetInput] = {}
        for item in inputs:
            unique.setdefault((item.dataset.name, item.dataset.digest), item)
        # Sorted, so that parallel writers insert datasets and links in one order.
        ordered = [unique[identity] for identity in sorted(unique)]
        models = sorted(set(model_ids))
        await retry_on_conflict(lambda: self._write_inputs(run_id, ordered, models))
        self._listener([run_id])

    async def log_outputs(self, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        """Record logged models that the run produced, all or nothing.

        Raises:
            InvalidArgument: ids are wrong.
            OutputExists: a model is an output of the run already, or comes twice (MLflow).
            RunNotFound, RunDeleted: it needs an active run.
        """
        violations = Violations()
        if not outputs:
            violations.add("models", "is required")
        _check_model_ids("models", [output.model_id for output in outputs], violations)
        violations.check()
        async with self._database.driver() as connection:
            await _active_experiment(connection, run_id)
            try:
                await model_links.insert_outputs(connection, run_id, outputs)
            except UniqueViolationError as error:
                raise OutputExists(run_id) from error
        self._listener([run_id])

    async def _write(self, run_id: str, params: dict[str, str], tags: dict[str, str]) -> None:
        async with self._database.driver() as connection:
            try:
                if RUN_NAME_TAG in tags:
                    async with connection.transaction():
                        await self._rename(connection, run_id, tags[RUN_NAME_TAG])
                        await run_repository.upsert_data(connection, run_id, params, tags)
                else:
                    require_active(run_id, await run_repository.upsert_data(connection, run_id, params, tags))
            except NotNullViolationError as error:
                stored = await run_queries.select_param_values(connection, run_id, list(params))
                raise ParamImmutable(run_id, _conflicts(stored, params)) from error

    async def _rename(self, connection: Connection, run_id: str, name: str) -> None:
        def rule(run: Run) -> Run:
            return dataclasses.replace(run, name=name)

        await change_run(
            connection, run_id, rule, RunChange.RUN_CHANGE_UPDATED, self._clock, active_only=True
        )

    async def _write_inputs(
        self, run_id: str, inputs: Sequence[DatasetInput], model_ids: Sequence[str]
    ) -> None:
        async with self._database.driver() as connection, connection.transaction():
            experiment_id = await _active_experiment(connection, run_id)
            if inputs:
                await input_repository.insert_inputs(connection, run_id, experiment_id, inputs)
            if model_ids:
                await model_links.insert_inputs(connection, run_id, model_ids)


async def _active_experiment(connection: Connection, run_id: str) -> int:
    """The experiment of an active run; raises as ``require_active`` does."""
    check = (await run_queries.check_runs(connection, [run_id])).get(run_id)
    if check is None or check.experiment_id is None:
        raise RunNotFound(run_id)
    require_active(run_id, check.lifecycle_stage)
    return check.experiment_id


def require_active(run_id: str, stage: LifecycleStage | None) -> None:
    """Refuse a write to a run that is not active.

    Raises:
        RunNotFound: there is no such run.
        RunDeleted: it is marked deleted.
    """
    if stage is None:
        raise RunNotFound(run_id)
    if stage is not LifecycleStage.ACTIVE:
        raise RunDeleted(run_id)


def _conflicts(stored: Mapping[str, str], params: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {
        key: (stored[key], value) for key, value in params.items() if key in stored and stored[key] != value
    }


def _check_inputs(inputs: Sequence[DatasetInput], model_ids: Sequence[str]) -> None:
    violations = Violations()
    rules.at_most("datasets", inputs, MAX_INPUTS, violations)
    for index, item in enumerate(inputs):
        _check_dataset(f"datasets[{index}].dataset", item.dataset, violations)
        rules.input_tags(f"datasets[{index}].tags", item.tags.items(), violations)
    _check_model_ids("model_ids", model_ids, violations)
    violations.check()


def _check_model_ids(field: str, model_ids: Sequence[str], violations: Violations) -> None:
    rules.at_most(field, model_ids, MAX_INPUTS, violations)
    for index, model_id in enumerate(model_ids):
        if not 1 <= len(model_id) <= MAX_MODEL_ID_LENGTH:
            violations.add(f"{field}[{index}]", f"needs 1 to {MAX_MODEL_ID_LENGTH} characters")


def _check_dataset(field: str, dataset: Dataset, violations: Violations) -> None:
    for name, value, limit in (
        ("name", dataset.name, limits.MAX_DATASET_NAME_LENGTH),
        ("digest", dataset.digest, limits.MAX_DATASET_DIGEST_LENGTH),
    ):
        if not 1 <= len(value) <= limit:
            violations.add(f"{field}.{name}", f"needs 1 to {limit} characters, has {len(value)}")
