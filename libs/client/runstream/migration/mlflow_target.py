"""Writes a deployment into MLflow: a tracking server or its database.

MLflow gives runs and logged models ids of its own; the ones they had are kept as tags.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient
from mlflow.entities import (
    ExperimentTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from runstream.migration.files import FileFact, Inventory, facts_of, walk
from runstream.migration.mlflow_registry_target import MlflowRegistryTarget
from runstream.migration.mlflow_shapes import (
    MODEL_ORIGIN_TAG,
    ORIGIN_TAG,
    RUN_NAME_TAG,
    counts_of,
    model_status,
)
from runstream.migration.source import MlflowSource
from runstream.migration.target import Placed, RunCounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mlflow.entities import Experiment, LoggedModel, Run
    from runstream_contract.columns import Series

BATCH_POINTS = 1_000
BATCH_PARAMS = 100
"""MLflow's limits of one log-batch; with as many tags."""
LARGEST = 1.7976931348623157e308
"""What MLflow's database holds for infinity."""


class MlflowTarget(MlflowRegistryTarget):
    """An MLflow deployment; see `target.Target`.

    Args:
        uri: see `addresses.mlflow_uri`.
    """

    renumbers = True

    def __init__(self, uri: str) -> None:
        self.name = uri
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._store: Any = self._client._tracking_client.store  # noqa: SLF001 - takes entities as they are
        self._reader = MlflowSource(uri)
        super().__init__(self._client._get_registry_client().store, self._reader)  # noqa: SLF001

    # Experiments

    def put_experiment(self, experiment: Experiment) -> Placed:
        """See Target."""
        found = self._store.get_experiment_by_name(experiment.name)
        if found is None:
            tags = [ExperimentTag(key, value) for key, value in experiment.tags.items()]
            made = self._store.create_experiment(experiment.name, None, tags)
            return Placed(made, created=True)
        if found.lifecycle_stage == "deleted":
            self._store.restore_experiment(found.experiment_id)
        return Placed(found.experiment_id, created=False)

    def finish_experiment(self, experiment: Experiment, placed: Placed) -> None:
        """See Target."""
        if experiment.lifecycle_stage == "deleted":
            self._store.delete_experiment(placed.id)

    # Runs

    def reserve_run(self, run: Run, experiment_id: str) -> Placed:
        """See Target."""
        name = run.info.run_name
        tags = [RunTag(ORIGIN_TAG, run.info.run_id)]
        if RUN_NAME_TAG in run.data.tags:
            tags.append(RunTag(RUN_NAME_TAG, run.data.tags[RUN_NAME_TAG]))
        made = self._store.create_run(experiment_id, run.info.user_id, run.info.start_time, tags, name)
        return Placed(made.info.run_id, created=True, artifact_uri=made.info.artifact_uri)

    def put_run(self, run: Run, experiment_id: str, run_id: str, model_ids: Mapping[str, str]) -> Placed:
        """See Target."""
        del experiment_id  # it was reserved there
        there = self._store.get_run(run_id)
        if there.info.lifecycle_stage == "deleted":
            self._store.restore_run(run_id)
        params = [Param(key, value) for key, value in run.data.params.items()]
        tags = [RunTag(key, value) for key, value in run.data.tags.items()]
        for start in range(0, max(len(params), len(tags)), BATCH_PARAMS):
            part = slice(start, start + BATCH_PARAMS)
            self._store.log_batch(run_id, [], params[part], tags[part])
        self._link(run, there, model_ids)
        return Placed(run_id, created=False, artifact_uri=there.info.artifact_uri)

    def _link(self, run: Run, there: Run, model_ids: Mapping[str, str]) -> None:
        run_id = there.info.run_id
        if run.inputs:
            models = [
                LoggedModelInput(model_ids.get(item.model_id, item.model_id))
                for item in run.inputs.model_inputs or []
            ]
            self._store.log_inputs(run_id, run.inputs.dataset_inputs or [], models)
        known = {item.model_id for item in (there.outputs.model_outputs if there.outputs else [])}
        outputs = (run.outputs.model_outputs or []) if run.outputs else []
        fresh = [
            LoggedModelOutput(model_ids.get(item.model_id, item.model_id), item.step)
            for item in outputs
            if model_ids.get(item.model_id, item.model_id) not in known
        ]
        if fresh:
            self._store.log_outputs(run_id, fresh)

    def put_points(self, run_id: str, series: Sequence[Series]) -> None:
        """See Target."""
        batch: list[Metric] = []
        for point in _metrics(series):
            batch.append(point)
            if len(batch) == BATCH_POINTS:
                self._store.log_batch(run_id, batch, [], [])
                batch = []
        if batch:
            self._store.log_batch(run_id, batch, [], [])

    def put_run_files(self, placed: Placed, folder: Path) -> list[FileFact]:
        """See Target."""
        return self._store_files(placed.artifact_uri, folder)

    def finish_run(self, run: Run, run_id: str) -> None:
        """See Target."""
        self._store.update_run_info(run_id, RunStatus.from_string(run.info.status), run.info.end_time, None)

    def delete_run(self, run_id: str) -> None:
        """See Target."""
        self._store.delete_run(run_id)

    # Logged models

    def put_logged_model(
        self, model: LoggedModel, experiment_id: str, model_id: str, run_ids: Mapping[str, str]
    ) -> Placed:
        """See Target."""
        made = (
            self._store.get_logged_model(model_id)
            if model_id
            else self._create(model, experiment_id, run_ids)
        )
        for point in model.metrics or []:
            run_id = run_ids.get(point.run_id, point.run_id)
            filed = Metric(
                point.key,
                point.value,
                point.timestamp,
                point.step,
                model_id=made.model_id,
                dataset_name=point.dataset_name,
                dataset_digest=point.dataset_digest,
                run_id=run_id,
            )
            self._store.log_batch(run_id, [filed], [], [])
        return Placed(made.model_id, created=not model_id, artifact_uri=made.artifact_location)

    def _create(self, model: LoggedModel, experiment_id: str, run_ids: Mapping[str, str]) -> Any:
        source = model.source_run_id
        return self._store.create_logged_model(
            experiment_id=experiment_id,
            name=model.name,
            source_run_id=run_ids.get(source, source) if source else None,
            tags=[
                LoggedModelTag(MODEL_ORIGIN_TAG, model.model_id),
                *(LoggedModelTag(key, value) for key, value in model.tags.items()),
            ],
            params=[LoggedModelParameter(key, value) for key, value in model.params.items()],
            model_type=model.model_type,
        )

    def put_model_files(self, placed: Placed, folder: Path) -> list[FileFact]:
        """See Target."""
        return self._store_files(placed.artifact_uri, folder)

    def finish_logged_model(self, model: LoggedModel, placed: Placed) -> None:
        """See Target."""
        status = model_status(model)
        if status != "PENDING":
            self._store.finalize_logged_model(placed.id, LoggedModelStatus[status])

    # Counting

    def settle(self) -> None:
        """See Target; MLflow writes at once."""

    def run_counts(self, run_id: str) -> RunCounts | None:
        """See Target."""
        try:
            run = self._reader.run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        points: dict[str, int] = {}
        for series in self._reader.histories(run):
            points[series.key] = points.get(series.key, 0) + len(series)
        return counts_of(run, points, self._inventory(run.info.artifact_uri))

    def logged_model_files(self, model_id: str) -> Inventory | None:
        """See Target."""
        with suppress(MlflowException):
            return self._inventory(self._store.get_logged_model(model_id).artifact_location)
        return None

    def close(self) -> None:
        """See Target; MLflow's stores are kept by MLflow."""

    def _store_files(self, artifact_uri: str, folder: Path) -> list[FileFact]:
        get_artifact_repository(artifact_uri, tracking_uri=self.name).log_artifacts(str(folder))
        return [FileFact(file.path, file.size_bytes) for file in facts_of(folder)]

    def _inventory(self, artifact_uri: str) -> Inventory:
        repository = get_artifact_repository(artifact_uri, tracking_uri=self.name)
        return Inventory.of(FileFact(path, size) for path, size in walk(repository))


def _metrics(series: Sequence[Series]) -> Iterator[Metric]:
    for one in series:
        columns = zip(one.steps.tolist(), one.timestamps_ms.tolist(), one.values.tolist(), strict=True)
        for step, timestamp_ms, value in columns:
            finite = math.copysign(LARGEST, value) if math.isinf(value) else value
            yield Metric(one.key, finite, timestamp_ms, step)
