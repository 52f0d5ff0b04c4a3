"""Points of metric histories: from columns of bytes to MLflow's JSON, whole arrays at a time."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from runstream_contract.columns import FLOAT64, INT64

from runstream_gateway.mlflow_api.run_json import MAX_DOUBLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runstream_contract.columns import Float64Array, Int64Array
    from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns
    from runstream_proto.metadata.v1.metric_columns_pb2 import SampledSeriesColumns

SLICE_POINTS = 8_192
"""Points encoded at a time: some milliseconds of the event loop."""

NAN_TEXT = "NaN"
"""NaN in proto-JSON."""

NAN_TOKEN = msgspec.Raw(b"NaN")
"""NaN as Python's json writes it, which is no JSON; the one endpoint of MLflow that is not proto-JSON answers so."""

_encoder = msgspec.json.Encoder()


class _Point(msgspec.Struct, gc=False):
    key: str
    value: Any
    timestamp: int
    step: int


class _RunPoint(msgspec.Struct, gc=False):
    key: str
    value: Any
    timestamp: int
    step: int
    run_id: str


class Points(NamedTuple):
    """Points of one metric of one run, as parallel arrays; values without infinities and negative zeros."""

    run_id: str
    key: str
    steps: Int64Array
    timestamps_ms: Int64Array
    values: Float64Array

    def part(self, start: int, end: int) -> Points:
        """The points from ``start`` to before ``end``."""
        return Points(
            self.run_id,
            self.key,
            self.steps[start:end],
            self.timestamps_ms[start:end],
            self.values[start:end],
        )

    def parts(self) -> Iterator[Points]:
        """The points in slices that are quick to encode."""
        for start in range(0, len(self.values), SLICE_POINTS):
            yield self.part(start, start + SLICE_POINTS)


def read_points(run_id: str, key: str, columns: MetricSeriesColumns | SampledSeriesColumns) -> Points:
    """Points as a service sent them, with the values that MLflow's SQL server would answer."""
    values = np.frombuffer(columns.values, FLOAT64) + 0.0  # a negative zero becomes zero
    if not np.isfinite(values).all():
        values = np.clip(values, -MAX_DOUBLE, MAX_DOUBLE)
    return Points(
        run_id,
        key,
        np.frombuffer(columns.steps, INT64),
        np.frombuffer(columns.timestamps_ms, INT64),
        values,
    )


def encode_points(points: Points, *, with_run_id: bool, nan: str | msgspec.Raw = NAN_TEXT) -> bytes:
    """The points as JSON objects with commas between them, to be put into a list.

    Args:
        points: one or more, and not many more than SLICE_POINTS.
        with_run_id: whether each tells its run.
        nan: what stands for NaN.
    """
    values: list[Any] = points.values.tolist()
    for index in np.flatnonzero(np.isnan(points.values)).tolist():
        values[index] = nan
    timestamps_ms, steps = points.timestamps_ms.tolist(), points.steps.tolist()
    rows: list[Any]
    if with_run_id:
        rows = list(map(_RunPoint, repeat(points.key), values, timestamps_ms, steps, repeat(points.run_id)))
    else:
        rows = list(map(_Point, repeat(points.key), values, timestamps_ms, steps))
    return _encoder.encode(rows)[1:-1]
