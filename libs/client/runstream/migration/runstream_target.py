"""Writes experiments, runs and logged models to Runstream; the registry half is `runstream_registry_target`."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from runstream_common.errors import NotFound, PlatformError, Unavailable
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.metadata.v1 import import_service_pb2 as import_pb
from runstream_proto.metadata.v1 import logged_model_service_pb2 as models_pb
from runstream_proto.metadata.v1 import metric_service_pb2 as metrics_pb
from runstream_proto.metadata.v1 import run_service_pb2 as runs_pb
from runstream_proto.metadata.v1 import types_pb2 as types_pb
from runstream_proto.metadata.v1.import_service_pb2_grpc import ImportServiceStub
from runstream_proto.metadata.v1.logged_model_service_pb2_grpc import LoggedModelServiceStub
from runstream_proto.metadata.v1.metric_service_pb2_grpc import MetricServiceStub
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from runstream.artifacts.client import Artifacts
from runstream.connection import Connection, call_metadata
from runstream.migration import mlflow_shapes as shapes
from runstream.migration.files import FileFact, Inventory
from runstream.migration.runstream_registry_target import RegistryTarget
from runstream.migration.target import Placed, RunCounts
from runstream.tracking.batches import encode_batches
from runstream.tracking.bus_positions import Positions
from runstream.tracking.operations import send_metrics
from runstream.tracking.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlflow.entities import Experiment, LoggedModel, Run
    from runstream_contract.columns import Series

CALL_SECONDS = 60.0
PATIENCE_SECONDS = 300.0
"""How long a service that is away is asked again before the migration stops; it can be resumed."""
SETTLE_MS = 60_000
POINTS_PER_MODEL_CALL = 1_000


class RunstreamTarget(RegistryTarget):
    """A Runstream deployment over gRPC; see `target.Target`.

    Args:
        url: see `runstream.connection.target_of`.
    """

    renumbers = False

    def __init__(self, url: str | None) -> None:
        self._connection = Connection(url)
        self._connection.deployment()
        super().__init__(self._connection, self._call)
        self._imports = self._connection.stub(ImportServiceStub)
        self._runs = self._connection.stub(RunServiceStub)
        self._metrics = self._connection.stub(MetricServiceStub)
        self._models = self._connection.stub(LoggedModelServiceStub)
        self._artifacts = Artifacts(self._connection)
        self._positions = Positions()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The address."""
        return self._connection.target

    # Experiments

    def put_experiment(self, experiment: Experiment) -> Placed:
        """See Target."""
        request = import_pb.ImportExperimentRequest(
            name=experiment.name,
            experiment_id=experiment.experiment_id if experiment.experiment_id.isdecimal() else "",
            tags=shapes.pairs(experiment.tags),
            creation_time_ms=experiment.creation_time or 0,
        )
        answer = self._call(self._imports.ImportExperiment, request)
        found = answer.experiment
        if found.lifecycle_stage == types_pb.LIFECYCLE_STAGE_DELETED:
            self._amend_experiment(found.experiment_id, lifecycle_stage=types_pb.LIFECYCLE_STAGE_ACTIVE)
        return Placed(found.experiment_id, answer.created, found.artifact_location)

    def finish_experiment(self, experiment: Experiment, placed: Placed) -> None:
        """See Target."""
        self._amend_experiment(
            placed.id,
            lifecycle_stage=shapes.stage(experiment.lifecycle_stage),
            last_update_time_ms=(experiment.last_update_time or 0) if placed.created else 0,
        )

    def _amend_experiment(self, experiment_id: str, **facts: Any) -> None:
        self._call(
            self._imports.AmendExperiment,
            import_pb.AmendExperimentRequest(experiment_id=experiment_id, **facts),
        )

    # Runs

    def reserve_run(self, run: Run, experiment_id: str) -> Placed:
        """See Target."""
        answer = self._call(self._runs.CreateRun, shapes.create_run(run, experiment_id))
        return Placed(answer.run.run_id, answer.created, answer.run.artifact_uri)

    def put_run(self, run: Run, experiment_id: str, run_id: str, model_ids: Mapping[str, str]) -> Placed:
        """See Target."""
        del run_id  # it is the one that it had
        answer = self._call(self._runs.CreateRun, shapes.create_run(run, experiment_id))
        run_id = answer.run.run_id
        if not answer.created and answer.run.lifecycle_stage == types_pb.LIFECYCLE_STAGE_DELETED:
            self._call(self._runs.RestoreRun, runs_pb.RestoreRunRequest(run_id=run_id))
        for request in shapes.log_batches(run):
            self._call(self._runs.LogBatch, request)
        inputs, outputs = shapes.log_inputs(run, model_ids), shapes.log_outputs(run, model_ids)
        if inputs is not None:
            self._call(self._runs.LogInputs, inputs)
        if outputs is not None:
            self._log_outputs(outputs)
        return Placed(run_id, answer.created, answer.run.artifact_uri)

    def _log_outputs(self, request: runs_pb.LogOutputsRequest) -> None:
        try:
            self._call(self._runs.LogOutputs, request)
        except PlatformError as error:
            if error.reason != "OUTPUT_EXISTS":  # said when a run is carried over once more
                raise

    def put_points(self, run_id: str, series: Sequence[Series]) -> None:
        """See Target."""
        for batch in encode_batches(run_id, series):
            answer = _patiently(partial(self._send, batch.data))
            position = answer.position
            with self._lock:
                self._positions.advance(position.topic, position.partition, position.offset)

    def _send(self, data: bytes) -> Any:
        try:
            return send_metrics(self._connection, data, CALL_SECONDS).result()
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def put_run_files(self, placed: Placed, folder: Path) -> list[FileFact]:
        """See Target."""
        return self._store(f"runstream://runs/{placed.id}", folder)

    def finish_run(self, run: Run, run_id: str) -> None:
        """See Target."""
        self._call(self._runs.UpdateRun, shapes.update_run(run, run_id))

    def delete_run(self, run_id: str) -> None:
        """See Target."""
        self._call(self._runs.DeleteRun, runs_pb.DeleteRunRequest(run_id=run_id))

    # Logged models

    def put_logged_model(
        self, model: LoggedModel, experiment_id: str, model_id: str, run_ids: Mapping[str, str]
    ) -> Placed:
        """See Target."""
        del model_id  # it is the one that it had
        request = shapes.create_logged_model(model, experiment_id, run_ids)
        answer = self._call(self._models.CreateLoggedModel, request)
        points = shapes.model_metrics(model, run_ids)
        for start in range(0, len(points), POINTS_PER_MODEL_CALL):
            part = points[start : start + POINTS_PER_MODEL_CALL]
            self._call(self._models.LogModelMetrics, models_pb.LogModelMetricsRequest(metrics=part))
        return Placed(answer.model.model_id, answer.created, answer.model.artifact_uri)

    def put_model_files(self, placed: Placed, folder: Path) -> list[FileFact]:
        """See Target."""
        return self._store(f"runstream://logged-models/{placed.id}", folder)

    def finish_logged_model(self, model: LoggedModel, placed: Placed) -> None:
        """See Target."""
        status = models_pb.LoggedModelStatus.Value(f"LOGGED_MODEL_STATUS_{shapes.model_status(model)}")
        if status != models_pb.LOGGED_MODEL_STATUS_PENDING:
            request = models_pb.FinalizeLoggedModelRequest(model_id=placed.id, status=status)
            self._call(self._models.FinalizeLoggedModel, request)

    # Counting

    def settle(self) -> None:
        """See Target."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        wait_for = [
            BusPosition(topic=item.topic, partition=item.partition, offset=item.offset)
            for item in self._positions.known()
        ]
        # Any run will do: the positions are what is waited for.
        request = metrics_pb.ListMetricsRequest(
            run_ids=["0" * 32], wait_for=wait_for, wait_timeout_ms=SETTLE_MS
        )
        seconds = CALL_SECONDS + SETTLE_MS / 1000
        while not self._call(self._metrics.ListMetrics, request, seconds=seconds).freshness.caught_up:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"what was written cannot be read after {PATIENCE_SECONDS:g} s; is the metadata service's consumer alive?"
                )

    def run_counts(self, run_id: str) -> RunCounts | None:
        """See Target."""
        try:
            run = self._call(self._runs.GetRun, runs_pb.GetRunRequest(run_id=run_id)).run
        except NotFound:
            return None
        answer = self._call(self._metrics.ListMetrics, metrics_pb.ListMetricsRequest(run_ids=[run_id]))
        return shapes.run_counts(
            run,
            {item.latest.key: item.point_count for item in answer.metrics},
            self._inventory(f"runstream://runs/{run_id}"),
        )

    def logged_model_files(self, model_id: str) -> Inventory | None:
        """See Target."""
        with suppress(NotFound):
            self._call(self._models.GetLoggedModel, models_pb.GetLoggedModelRequest(model_id=model_id))
            return self._inventory(f"runstream://logged-models/{model_id}")
        return None

    def close(self) -> None:
        """See Target."""
        self._artifacts.close()
        self._connection.close()

    def _store(self, place: str, folder: Path) -> list[FileFact]:
        stored = self._artifacts.upload(folder, place, skip_special=True, progress=False)
        return [FileFact(item.path, item.size_bytes, item.digest) for item in stored.artifacts]

    def _inventory(self, place: str) -> Inventory:
        return Inventory.of(
            FileFact(item.path, item.size_bytes, item.digest)
            for item in self._artifacts.list(place, recursive=True)
        )

    def _call(self, method: Any, request: Any, *, seconds: float = CALL_SECONDS) -> Any:
        def once() -> Any:
            try:
                return method(request, timeout=seconds, metadata=call_metadata())
            except grpc.RpcError as error:
                raise from_rpc_error(error) from error

        return _patiently(once)


def _patiently(action: Callable[[], Any]) -> Any:
    """Do something again while a service is away or asks to wait."""
    backoff, deadline = Backoff(), time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return action()
        except PlatformError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
        time.sleep(backoff.next_seconds())
