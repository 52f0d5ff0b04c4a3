"""Between messages of ``runstream.metadata.v1`` and the values of this service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.bus.messages import Position
from runstream_common.errors import InvalidArgument, PlatformError
from runstream_common.rpc.status import status_code
from runstream_proto.metadata.v1 import experiment_service_pb2 as experiments_pb
from runstream_proto.metadata.v1 import run_service_pb2 as pb
from runstream_proto.metadata.v1 import types_pb2 as types

from runstream_metadata.entities import (
    Dataset,
    DatasetInput,
    DatasetSummary,
    Experiment,
    Run,
    RunCheck,
    RunStatus,
    ViewType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runstream_proto.common.v1.position_pb2 import BusPosition

DEFAULT_WAIT_TIMEOUT_MS = 5_000
MAX_WAIT_TIMEOUT_MS = 60_000


def pairs(items: Iterable[types.KeyValue]) -> list[tuple[str, str]]:
    """Keys and values as they came, repeats included."""
    return [(item.key, item.value) for item in items]


def key_values(items: Mapping[str, str]) -> list[types.KeyValue]:
    """Keys and values in the mapping's order."""
    return [types.KeyValue(key=key, value=value) for key, value in items.items()]


def status_or_none(number: int) -> RunStatus | None:
    """The status; None when it is unspecified.

    Raises:
        InvalidArgument: the number is not known.
    """
    if number == 0:
        return None
    try:
        return RunStatus(number)
    except ValueError as error:
        raise InvalidArgument.of("status", f"{number} is not a status") from error


def view_type(number: int) -> ViewType:
    """The view; active only when it is unspecified.

    Raises:
        InvalidArgument: the number is not known.
    """
    try:
        return ViewType(number or ViewType.ACTIVE_ONLY)
    except ValueError as error:
        raise InvalidArgument.of("view_type", f"{number} is not a view type") from error


def positions(items: Iterable[BusPosition]) -> list[Position]:
    """Places on the bus."""
    return [Position(item.topic, item.partition, item.offset) for item in items]


def wait_timeout_ms(value: int) -> int:
    """The wait with its default filled in.

    Raises:
        InvalidArgument: it is negative or too long.
    """
    if not 0 <= value <= MAX_WAIT_TIMEOUT_MS:
        raise InvalidArgument.of("wait_timeout_ms", f"must be 0 to {MAX_WAIT_TIMEOUT_MS}")
    return value or DEFAULT_WAIT_TIMEOUT_MS


def dataset_input(item: types.DatasetInput) -> DatasetInput:
    """A dataset as the input of a run."""
    sent = item.dataset
    dataset = Dataset(
        name=sent.name,
        digest=sent.digest,
        source_type=sent.source_type,
        source=sent.source,
        schema=sent.schema,
        profile=sent.profile,
    )
    return DatasetInput(dataset, dict(pairs(item.tags)))


def experiment_message(experiment: Experiment) -> types.Experiment:
    """The experiment as clients see it."""
    return types.Experiment(
        experiment_id=str(experiment.experiment_id),
        name=experiment.name,
        artifact_location=experiment.artifact_location,
        lifecycle_stage=types.LifecycleStage.ValueType(experiment.lifecycle_stage),
        creation_time_ms=experiment.creation_time_ms,
        last_update_time_ms=experiment.last_update_time_ms,
        tags=key_values(experiment.tags),
    )


def run_message(run: Run) -> types.Run:
    """The run as clients see it, with the data it was loaded with."""
    return types.Run(
        run_id=run.run_id,
        experiment_id=str(run.experiment_id),
        run_name=run.name,
        user_id=run.user_id,
        status=types.RunStatus.ValueType(run.status),
        status_reason=run.status_reason,
        start_time_ms=run.start_time_ms,
        end_time_ms=run.end_time_ms,
        artifact_uri=run.artifact_uri,
        lifecycle_stage=types.LifecycleStage.ValueType(run.lifecycle_stage),
        lease_expire_time_ms=run.lease_expire_time_ms,
        parent_run_id=run.parent_run_id,
        metrics=[
            types.LatestMetric(
                key=metric.key, value=metric.value, step=metric.step, timestamp_ms=metric.timestamp_ms
            )
            for metric in run.metrics
        ],
        params=key_values(run.params),
        tags=key_values(run.tags),
        inputs=[_input_message(item) for item in run.inputs],
        model_input_ids=run.model_input_ids,
        model_outputs=[
            types.ModelOutput(model_id=output.model_id, step=output.step) for output in run.model_outputs
        ],
    )


def create_outcome(outcome: tuple[Run, bool] | PlatformError) -> pb.CreateRunOutcome:
    """What became of one run of a batch."""
    if isinstance(outcome, PlatformError):
        failure = pb.CallFailure(
            code=status_code(outcome).value[0], reason=outcome.reason, message=outcome.message
        )
        return pb.CreateRunOutcome(failure=failure)
    run, created = outcome
    return pb.CreateRunOutcome(created=pb.CreateRunResponse(run=run_message(run), created=created))


def check_message(check: RunCheck) -> pb.RunCheck:
    """What is known of a run that others refer to."""
    return pb.RunCheck(
        run_id=check.run_id,
        lifecycle_stage=types.LifecycleStage.ValueType(check.lifecycle_stage or 0),
        experiment_id="" if check.experiment_id is None else str(check.experiment_id),
    )


def dataset_summary_message(summary: DatasetSummary) -> experiments_pb.DatasetSummary:
    """A dataset that runs used."""
    return experiments_pb.DatasetSummary(
        experiment_id=str(summary.experiment_id),
        name=summary.name,
        digest=summary.digest,
        context=summary.context,
    )


def _input_message(item: DatasetInput) -> types.DatasetInput:
    dataset = item.dataset
    return types.DatasetInput(
        dataset=types.Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema,
            profile=dataset.profile,
        ),
        tags=key_values(item.tags),
    )
