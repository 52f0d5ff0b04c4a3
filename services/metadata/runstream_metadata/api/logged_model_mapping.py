"""Between messages of ``runstream.metadata.v1`` and values, for logged models."""

from __future__ import annotations

from runstream_common.errors import InvalidArgument
from runstream_proto.metadata.v1 import logged_model_service_pb2 as pb
from runstream_proto.metadata.v1 import types_pb2 as types

from runstream_metadata import rules
from runstream_metadata.api.mapping import key_values
from runstream_metadata.logged_model_entities import (
    LoggedModel,
    LoggedModelStatus,
    ModelMetric,
    NewLoggedModel,
)
from runstream_metadata.search import DatasetScope, LoggedModelOrder, LoggedModelSearch
from runstream_metadata.search.requests import MAX_EXPERIMENTS


def new_logged_model(request: pb.CreateLoggedModelRequest) -> NewLoggedModel:
    """What the request creates; its params and tags are checked apart."""
    return NewLoggedModel(
        model_id=request.model_id,
        experiment_id=rules.experiment_id(request.experiment_id),
        name=request.name,
        model_type=request.model_type,
        source_run_id=request.source_run_id,
        creation_time_ms=request.creation_time_ms,
        params={},
        tags={},
    )


def status(number: int) -> LoggedModelStatus:
    """The status.

    Raises:
        InvalidArgument: the number is not known.
    """
    try:
        return LoggedModelStatus(number)
    except ValueError as error:
        raise InvalidArgument.of("status", f"{number} is not a status") from error


def model_metric(item: pb.ModelMetric) -> ModelMetric:
    """A point to file."""
    return ModelMetric(
        model_id=item.model_id,
        run_id=item.run_id,
        key=item.key,
        value=item.value,
        step=item.step,
        timestamp_ms=item.timestamp_ms,
        dataset_name=item.dataset_name,
        dataset_digest=item.dataset_digest,
    )


def logged_model_search(request: pb.SearchLoggedModelsRequest) -> LoggedModelSearch:
    """The search.

    Raises:
        InvalidArgument: the experiments are missing, too many or no numbers.
    """
    if not 1 <= len(request.experiment_ids) <= MAX_EXPERIMENTS:
        raise InvalidArgument.of("experiment_ids", f"needs 1 to {MAX_EXPERIMENTS} ids")
    return LoggedModelSearch(
        experiment_ids=[
            rules.experiment_id(text, f"experiment_ids[{index}]")
            for index, text in enumerate(request.experiment_ids)
        ],
        filter_text=request.filter,
        datasets=[DatasetScope(item.dataset_name, item.dataset_digest) for item in request.datasets],
        order_by=[_order(item) for item in request.order_by],
        page_size=request.page_size,
        page_token=request.page_token,
    )


def logged_model_message(model: LoggedModel) -> pb.LoggedModel:
    """The logged model as clients see it."""
    return pb.LoggedModel(
        model_id=model.model_id,
        experiment_id=str(model.experiment_id),
        name=model.name,
        creation_time_ms=model.creation_time_ms,
        last_update_time_ms=model.last_update_time_ms,
        artifact_uri=model.artifact_uri,
        status=pb.LoggedModelStatus.ValueType(model.status),
        status_message=model.status_message,
        model_type=model.model_type,
        source_run_id=model.source_run_id,
        lifecycle_stage=types.LifecycleStage.ValueType(model.lifecycle_stage),
        params=key_values(model.params),
        tags=key_values(model.tags),
        metrics=[_metric_message(metric) for metric in model.metrics],
    )


def _metric_message(metric: ModelMetric) -> pb.ModelMetric:
    return pb.ModelMetric(
        model_id=metric.model_id,
        run_id=metric.run_id,
        key=metric.key,
        value=metric.value,
        step=metric.step,
        timestamp_ms=metric.timestamp_ms,
        dataset_name=metric.dataset_name,
        dataset_digest=metric.dataset_digest,
    )


def _order(item: pb.LoggedModelOrder) -> LoggedModelOrder:
    descending = item.HasField("ascending") and not item.ascending
    dataset = DatasetScope(item.dataset_name, item.dataset_digest) if item.dataset_name else None
    return LoggedModelOrder(item.field_name, descending, dataset)
