"""JSON on ``run-logged``: one point, a list of points, or columns, for producers without stubs.

    {"run_id": "…", "key": "loss", "value": 0.5, "step": 1, "timestamp_ms": 1700000000000}
    {"run_id": "…", "batch_id": "…", "metrics": [{"key": "loss", "value": "NaN", "step": 1, "timestamp_ms": 17…}, …]}
    {"run_id": "…", "series": [{"key": "loss", "steps": […], "timestamps_ms": […], "values": […]}]}

``batch_id`` is optional everywhere, ``step`` is 0 when a point has none. JSON has no NaN: it and the infinities are the
strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
import numpy as np
from runstream_contract.columns import FLOAT64, INT64, encode_series
from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns, RunLoggedColumns

from runstream_metadata.metric_batches import LENGTH_MISMATCH, MALFORMED_JSON, RefusedBatch, shown

Value: TypeAlias = float | Literal["NaN", "Infinity", "-Infinity"]
Step: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
TimeMs: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_FORMS: Final = 'give either "key", "value", "timestamp_ms" (one point), "metrics" (a list of points) or "series" (columns)'


class JsonPoint(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One point of a list."""

    key: str
    value: Value
    timestamp_ms: TimeMs
    step: Step = 0


class JsonSeries(msgspec.Struct, forbid_unknown_fields=True):
    """Points of one key as columns."""

    key: str
    steps: list[Step]
    timestamps_ms: list[TimeMs]
    values: list[Value]


class JsonBatch(msgspec.Struct, forbid_unknown_fields=True):
    """Any of the three forms; which one is told by its fields."""

    run_id: str
    batch_id: str = ""
    key: str | msgspec.UnsetType = msgspec.UNSET
    value: Value | msgspec.UnsetType = msgspec.UNSET
    timestamp_ms: TimeMs | msgspec.UnsetType = msgspec.UNSET
    step: Step | msgspec.UnsetType = msgspec.UNSET
    metrics: list[JsonPoint] | msgspec.UnsetType = msgspec.UNSET
    series: list[JsonSeries] | msgspec.UnsetType = msgspec.UNSET


_decoder: Final = msgspec.json.Decoder(JsonBatch)


def decode_json(data: bytes) -> RunLoggedColumns:
    """Read a JSON message as bytes columns; keys and times are checked later, as those of protobuf are.

    Raises:
        RefusedBatch: no JSON, or not of the forms above; says where.
    """
    try:
        batch = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise RefusedBatch(MALFORMED_JSON, f"{error}; {_FORMS}") from error
    except UnicodeDecodeError as error:
        raise RefusedBatch(MALFORMED_JSON, f"the text is not UTF-8: {error}") from error
    return RunLoggedColumns(run_id=batch.run_id, batch_id=batch.batch_id, series=_series_of(batch))


def _series_of(batch: JsonBatch) -> list[MetricSeriesColumns]:
    point_fields = [
        name for name in ("key", "value", "timestamp_ms", "step") if getattr(batch, name) is not msgspec.UNSET
    ]
    if [bool(point_fields), batch.metrics is not msgspec.UNSET, batch.series is not msgspec.UNSET].count(
        True
    ) != 1:
        raise RefusedBatch(MALFORMED_JSON, f"the message mixes forms or has none; {_FORMS}")
    if batch.metrics is not msgspec.UNSET:
        return _columns_of_points(batch.metrics)
    if batch.series is not msgspec.UNSET:
        return [_columns_of_series(index, one) for index, one in enumerate(batch.series)]
    if batch.key is msgspec.UNSET or batch.value is msgspec.UNSET or batch.timestamp_ms is msgspec.UNSET:
        missing = [n for n in ("key", "value", "timestamp_ms") if n not in point_fields]
        raise RefusedBatch(MALFORMED_JSON, f"the point lacks {', '.join(missing)}; {_FORMS}")
    step = 0 if batch.step is msgspec.UNSET else batch.step
    return _columns_of_points([JsonPoint(batch.key, batch.value, batch.timestamp_ms, step)])


def _columns_of_points(points: list[JsonPoint]) -> list[MetricSeriesColumns]:
    by_key: dict[str, list[JsonPoint]] = {}
    for point in points:
        by_key.setdefault(point.key, []).append(point)
    return [
        _pack(key, [p.step for p in of_key], [p.timestamp_ms for p in of_key], [p.value for p in of_key])
        for key, of_key in by_key.items()
    ]


def _columns_of_series(index: int, one: JsonSeries) -> MetricSeriesColumns:
    lengths = len(one.steps), len(one.timestamps_ms), len(one.values)
    if len(set(lengths)) != 1:
        raise RefusedBatch(
            LENGTH_MISMATCH,
            f"series[{index}] (key {shown(one.key)}): steps, timestamps_ms and values must have equal lengths, "
            f"got {lengths[0]}, {lengths[1]} and {lengths[2]}",
        )
    return _pack(one.key, one.steps, one.timestamps_ms, one.values)


def _pack(key: str, steps: list[int], times: list[int], values: list[Value]) -> MetricSeriesColumns:
    count = len(values)
    # float() reads "NaN" and "Infinity" too.
    numbers = np.fromiter(map(float, values), FLOAT64, count)
    return encode_series(key, np.fromiter(steps, INT64, count), np.fromiter(times, INT64, count), numbers)
