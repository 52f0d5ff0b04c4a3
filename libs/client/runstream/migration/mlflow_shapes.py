"""MLflow's entities as requests of the metadata service, and its runs in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_contract.limits import MAX_PARAMS_PER_BATCH, MAX_TAGS_PER_BATCH
from runstream_proto.metadata.v1 import logged_model_service_pb2 as models_pb
from runstream_proto.metadata.v1 import run_service_pb2 as runs_pb
from runstream_proto.metadata.v1 import types_pb2 as types_pb

from runstream.migration.target import RunCounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow.entities import LoggedModel, Run

    from runstream.migration.files import Inventory

RUN_NAME_TAG = "mlflow.runName"
ORIGIN_TAG = "runstream.source_run_id"
"""On runs that got another id: the id they had."""
MODEL_ORIGIN_TAG = "runstream.source_model_id"
"""On logged models that got another id: the id they had."""
ONE_SIDED_TAGS = frozenset({RUN_NAME_TAG, ORIGIN_TAG})
"""Not compared: a run without a name gets one, and with it the tag."""

MAX_LINKS = 1_000
"""Inputs or outputs of one call."""


def pairs(mapping: Mapping[str, object]) -> list[types_pb.KeyValue]:
    """Key and value pairs."""
    return [types_pb.KeyValue(key=key, value=str(value)) for key, value in mapping.items()]


def stage(text: str) -> types_pb.LifecycleStage.ValueType:
    """The lifecycle stage "active" or "deleted"."""
    return types_pb.LifecycleStage.Value(f"LIFECYCLE_STAGE_{text.upper()}")


def create_run(run: Run, experiment_id: str) -> runs_pb.CreateRunRequest:
    """The run under its own id; params and most tags come later, in bounded parts."""
    name = {RUN_NAME_TAG: run.data.tags[RUN_NAME_TAG]} if RUN_NAME_TAG in run.data.tags else {}
    return runs_pb.CreateRunRequest(
        experiment_id=experiment_id,
        run_id=run.info.run_id,
        run_name=run.info.run_name or "",
        user_id=run.info.user_id or "",
        start_time_ms=run.info.start_time or 0,
        tags=pairs(name),
    )


def log_batches(run: Run) -> Iterator[runs_pb.LogBatchRequest]:
    """Params and tags in as few calls as they may come in."""
    params, tags = pairs(run.data.params), pairs(run.data.tags)
    most = max(len(params) / MAX_PARAMS_PER_BATCH, len(tags) / MAX_TAGS_PER_BATCH)
    for part in range(-int(-most // 1)):
        yield runs_pb.LogBatchRequest(
            run_id=run.info.run_id,
            params=params[part * MAX_PARAMS_PER_BATCH :][:MAX_PARAMS_PER_BATCH],
            tags=tags[part * MAX_TAGS_PER_BATCH :][:MAX_TAGS_PER_BATCH],
        )


def log_inputs(run: Run, model_ids: Mapping[str, str]) -> runs_pb.LogInputsRequest | None:
    """Datasets and models that the run used; None when there are none."""
    inputs = run.inputs
    datasets = [_dataset_input(item) for item in (inputs.dataset_inputs or [])] if inputs else []
    models = [item.model_id for item in (inputs.model_inputs or [])] if inputs else []
    if not datasets and not models:
        return None
    return runs_pb.LogInputsRequest(
        run_id=run.info.run_id,
        datasets=datasets[:MAX_LINKS],
        model_ids=[model_ids.get(item, item) for item in models[:MAX_LINKS]],
    )


def _dataset_input(item: object) -> types_pb.DatasetInput:
    dataset = item.dataset  # type: ignore[attr-defined] # MLflow's DatasetInput
    return types_pb.DatasetInput(
        dataset=types_pb.Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema or "",
            profile=dataset.profile or "",
        ),
        tags=[types_pb.KeyValue(key=tag.key, value=tag.value) for tag in item.tags or []],  # type: ignore[attr-defined]
    )


def log_outputs(run: Run, model_ids: Mapping[str, str]) -> runs_pb.LogOutputsRequest | None:
    """Models that the run made; None when there are none."""
    outputs = (run.outputs.model_outputs or []) if run.outputs else []
    if not outputs:
        return None
    return runs_pb.LogOutputsRequest(
        run_id=run.info.run_id,
        models=[
            types_pb.ModelOutput(model_id=model_ids.get(item.model_id, item.model_id), step=item.step)
            for item in outputs[:MAX_LINKS]
        ],
    )


def update_run(run: Run, run_id: str) -> runs_pb.UpdateRunRequest:
    """The run's status and end."""
    request = runs_pb.UpdateRunRequest(
        run_id=run_id, status=types_pb.RunStatus.Value(f"RUN_STATUS_{run.info.status}")
    )
    if run.info.end_time is not None:
        request.end_time_ms = run.info.end_time
    return request


def create_logged_model(
    model: LoggedModel, experiment_id: str, run_ids: Mapping[str, str]
) -> models_pb.CreateLoggedModelRequest:
    """The logged model under its own id."""
    source = model.source_run_id or ""
    return models_pb.CreateLoggedModelRequest(
        experiment_id=experiment_id,
        name=model.name,
        model_type=model.model_type or "",
        source_run_id=run_ids.get(source, source),
        params=pairs(model.params),
        tags=pairs(model.tags),
        model_id=model.model_id,
        creation_time_ms=model.creation_timestamp or 0,
    )


def model_metrics(model: LoggedModel, run_ids: Mapping[str, str]) -> list[models_pb.ModelMetric]:
    """The points that were filed under a logged model."""
    return [
        models_pb.ModelMetric(
            model_id=model.model_id,
            run_id=run_ids.get(point.run_id, point.run_id),
            key=point.key,
            value=point.value,
            step=point.step or 0,
            timestamp_ms=point.timestamp,
            dataset_name=point.dataset_name or "",
            dataset_digest=point.dataset_digest or "",
        )
        for point in model.metrics or []
    ]


def model_status(model: LoggedModel) -> str:
    """MLflow's word for the status without its prefix, such as "READY"."""
    return str(getattr(model.status, "value", model.status)).removeprefix("LOGGED_MODEL_")


def counts_of(run: Run, points: Mapping[str, int], files: Inventory) -> RunCounts:
    """What a run consists of where it came from.

    Args:
        run: with its inputs and outputs.
        points: distinct points by key, counted while they were read.
        files: likewise.
    """
    inputs, outputs = run.inputs, run.outputs
    return RunCounts(
        status=run.info.status,
        lifecycle_stage=run.info.lifecycle_stage,
        params=len(run.data.params),
        tags=len(run.data.tags.keys() - ONE_SIDED_TAGS),
        datasets=len(inputs.dataset_inputs or []) if inputs else 0,
        model_inputs=len(inputs.model_inputs or []) if inputs else 0,
        model_outputs=len(outputs.model_outputs or []) if outputs else 0,
        points=dict(points),
        files=files,
    )


def run_counts(run: types_pb.Run, points: Mapping[str, int], files: Inventory) -> RunCounts:
    """What a run of ours consists of."""
    return RunCounts(
        status=types_pb.RunStatus.Name(run.status).removeprefix("RUN_STATUS_"),
        lifecycle_stage=types_pb.LifecycleStage.Name(run.lifecycle_stage)
        .removeprefix("LIFECYCLE_STAGE_")
        .lower(),
        params=len(run.params),
        tags=len({tag.key for tag in run.tags} - ONE_SIDED_TAGS),
        datasets=len(run.inputs),
        model_inputs=len(run.model_input_ids),
        model_outputs=len(run.model_outputs),
        points=dict(points),
        files=files,
    )
