"""Answers of the services as the types of `results` and `results_metrics`: the only place that knows both."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet
from runstream_contract.columns import FLOAT64, INT64, series_of, to_columns
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.events.v1.run_logged_pb2 import RunLogged
from runstream_proto.metadata.v1 import metric_columns_pb2 as columns_pb
from runstream_proto.metadata.v1 import metric_service_pb2 as metric_pb
from runstream_proto.metadata.v1 import types_pb2 as types_pb

from runstream.query.frames import time_of
from runstream.query.results import DatasetInput, Experiment, MetricPoint, ModelOutput, Position, Run
from runstream.query.results_metrics import MetricHistory, MetricSummary, SampledHistory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from google.protobuf.message import Message
    from runstream_contract.columns import Float64Array
    from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns

PartView: TypeAlias = columns_pb.MetricPartColumns
SampledView: TypeAlias = columns_pb.SampleMetricHistoryColumns

_AXES = {
    metric_pb.AXIS_STEP: "step",
    metric_pb.AXIS_TIME: "time",
    metric_pb.AXIS_RELATIVE_TIME: "relative_time",
}
_SAMPLINGS = {
    metric_pb.SAMPLING_MIN_MAX_MEAN: "min_max_mean",
    metric_pb.SAMPLING_LTTB: "lttb",
    metric_pb.SAMPLING_FIRST_IN_BUCKET: "first_in_bucket",
}
AXIS_NUMBERS = {name: number for number, name in _AXES.items()}
SAMPLING_NUMBERS = {name: number for number, name in _SAMPLINGS.items()}
STATUS_NUMBERS = {
    name.removeprefix("RUN_STATUS_"): number for name, number in types_pb.RunStatus.items() if number
}
VIEW_NUMBERS = {
    "active": types_pb.VIEW_TYPE_ACTIVE_ONLY,
    "deleted": types_pb.VIEW_TYPE_DELETED_ONLY,
    "all": types_pb.VIEW_TYPE_ALL,
}
_STAGES = {types_pb.LIFECYCLE_STAGE_ACTIVE: "active", types_pb.LIFECYCLE_STAGE_DELETED: "deleted"}


def experiment_of(message: types_pb.Experiment) -> Experiment:
    """The experiment in an answer."""
    return Experiment(
        experiment_id=message.experiment_id,
        name=message.name,
        artifact_location=message.artifact_location,
        lifecycle_stage=_STAGES.get(message.lifecycle_stage, "unknown"),
        creation_time=time_of(message.creation_time_ms),
        last_update_time=time_of(message.last_update_time_ms),
        tags=_text_map(message.tags),
    )


def run_of(message: types_pb.Run) -> Run:
    """The run in an answer."""
    return Run(
        run_id=message.run_id,
        experiment_id=message.experiment_id,
        run_name=message.run_name,
        user_id=message.user_id,
        status=_status_name(message.status),
        status_reason=message.status_reason,
        start_time=time_of(message.start_time_ms) if message.start_time_ms else None,
        end_time=_optional_time(message, "end_time_ms"),
        artifact_uri=message.artifact_uri,
        lifecycle_stage=_STAGES.get(message.lifecycle_stage, "unknown"),
        lease_expire_time=_optional_time(message, "lease_expire_time_ms"),
        parent_run_id=message.parent_run_id,
        latest={point.key: _point_of(point) for point in message.metrics},
        params=_text_map(message.params),
        tags=_text_map(message.tags),
        inputs=tuple(_input_of(item) for item in message.inputs),
        model_inputs=tuple(message.model_input_ids),
        model_outputs=tuple(ModelOutput(item.model_id, item.step) for item in message.model_outputs),
    )


def summary_of(message: metric_pb.MetricSummary) -> MetricSummary:
    """The metric in an answer."""
    return MetricSummary(
        message.run_id,
        message.latest.key,
        _point_of(message.latest),
        message.point_count,
        message.min_step,
        message.max_step,
    )


def part_view(data: bytes) -> PartView:
    """Read a StreamMetricHistoryResponse or WatchMetricsResponse as bytes columns, whatever form its arrays have."""
    view = PartView.FromString(data)
    if view.ByteSize() == len(data) and not len(UnknownFieldSet(view.series)):
        return view
    # Arrays in pieces or unpacked are legal protobuf too; the view cannot hold them (see runstream_contract.columns).
    answer = metric_pb.StreamMetricHistoryResponse.FromString(data)
    columns = to_columns(RunLogged(series=[answer.series]))
    return PartView(run_id=answer.run_id, series=columns.series[0])


def part_of(view: PartView) -> MetricHistory:
    """A part of a history as numpy columns, which are read-only views of the message."""
    return _history(view.run_id, view.series)


def _history(run_id: str, columns: MetricSeriesColumns) -> MetricHistory:
    series = series_of(columns)
    return MetricHistory(run_id, series.key, series.steps, series.timestamps_ms, series.values)


def joined(run_id: str, key: str, parts: list[MetricHistory]) -> MetricHistory:
    """The parts of one history as one, in writable arrays; no parts make an empty history."""
    return MetricHistory(
        run_id,
        key,
        np.concatenate([part.steps for part in parts]) if parts else np.empty(0, INT64),
        np.concatenate([part.timestamps_ms for part in parts]) if parts else np.empty(0, INT64),
        np.concatenate([part.values for part in parts]) if parts else np.empty(0, FLOAT64),
    )


def sampled_view(data: bytes) -> SampledView:
    """Read a SampleMetricHistoryResponse as bytes columns, whatever form its arrays have."""
    view = SampledView.FromString(data)
    if view.ByteSize() == len(data) and not any(len(UnknownFieldSet(series)) for series in view.series):
        return view
    # Written again by this library, every array is packed and whole.
    return SampledView.FromString(metric_pb.SampleMetricHistoryResponse.FromString(data).SerializeToString())


def sampled_of(view: columns_pb.SampledSeriesColumns, axis: str, sampling: str) -> SampledHistory:
    """One downsampled history as numpy columns; axis and sampling are the ones that were asked for."""
    bucketed = sampling == "min_max_mean" and bool(view.point_counts)
    return SampledHistory(
        run_id=view.run_id,
        key=view.key,
        axis=axis,
        sampling=sampling,
        axis_values=np.frombuffer(view.axis_values, INT64),
        steps=np.frombuffer(view.steps, INT64),
        timestamps_ms=np.frombuffer(view.timestamps_ms, INT64),
        values=np.frombuffer(view.values, FLOAT64),
        min_values=_floats(view.min_values) if bucketed else None,
        max_values=_floats(view.max_values) if bucketed else None,
        point_counts=np.frombuffer(view.point_counts, INT64) if bucketed else None,
        total_point_count=view.total_point_count,
    )


def positions_to_proto(positions: Iterable[Position | BusPosition]) -> list[BusPosition]:
    """Positions as a request takes them."""
    return [BusPosition(topic=p.topic, partition=p.partition, offset=p.offset) for p in positions]


def key_values(texts: dict[str, str]) -> list[types_pb.KeyValue]:
    """Tags or params as a request takes them."""
    return [types_pb.KeyValue(key=key, value=value) for key, value in texts.items()]


def _floats(column: bytes) -> Float64Array:
    return np.frombuffer(column, FLOAT64)


def _point_of(message: types_pb.LatestMetric) -> MetricPoint:
    return MetricPoint(message.value, message.step, time_of(message.timestamp_ms))


def _input_of(message: types_pb.DatasetInput) -> DatasetInput:
    dataset = message.dataset
    return DatasetInput(
        dataset.name,
        dataset.digest,
        dataset.source_type,
        dataset.source,
        dataset.schema,
        dataset.profile,
        _text_map(message.tags),
    )


def _status_name(number: int) -> str:
    # A newer server may know a status that this client does not.
    return next((name for name, known in STATUS_NUMBERS.items() if known == number), f"UNKNOWN_{number}")


def _optional_time(message: Message, field: str) -> datetime | None:
    return time_of(getattr(message, field)) if message.HasField(field) else None


def _text_map(items: Iterable[types_pb.KeyValue]) -> dict[str, str]:
    return {item.key: item.value for item in items}
