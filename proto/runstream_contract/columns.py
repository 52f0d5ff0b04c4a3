"""The columnar codec: batches of metric points as numpy arrays, without work per point.

`RunLogged` and `RunLoggedColumns` are the same bytes on the wire as long as arrays are packed, which every proto3
encoder does by default. `decode` recognises the rest (unpacked or split arrays are legal protobuf) and parses it the
slow way, so that any conforming producer is understood.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns, RunLoggedColumns
from runstream_proto.events.v1.run_logged_pb2 import RunLogged

Int64Array: TypeAlias = npt.NDArray[np.int64]
Float64Array: TypeAlias = npt.NDArray[np.float64]

INT64 = np.dtype("<i8")
FLOAT64 = np.dtype("<f8")
POINT_WIDTH_BYTES = 8


class MalformedBatch(ValueError):
    """The bytes are not a RunLogged message."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one metric key.

    Attributes:
        key: metric key.
        steps: int64, shape (n,).
        timestamps_ms: int64, shape (n,), milliseconds since the Unix epoch.
        values: float64, shape (n,).
    """

    key: str
    steps: Int64Array
    timestamps_ms: Int64Array
    values: Float64Array

    def __len__(self) -> int:
        return len(self.values)


def decode(data: bytes) -> RunLoggedColumns:
    """Read a RunLogged message as bytes columns.

    Args:
        data: serialized RunLogged, LogMetricsRequest or StreamMetricsRequest.

    Raises:
        MalformedBatch: the bytes are no such message.
    """
    try:
        view = RunLoggedColumns.FromString(data)
        # A shorter re-encoding betrays arrays that came in several pieces, of which the view holds only the last.
        if view.ByteSize() == len(data) and not _holds_unknown(view):
            return view
        return to_columns(RunLogged.FromString(data), view.sequence)
    except DecodeError as error:
        raise MalformedBatch("not a runstream.events.v1.RunLogged message") from error


def _holds_unknown(view: RunLoggedColumns) -> bool:
    # Points written one by one carry another wire type than bytes, so the view keeps them as unknown fields.
    return any(len(UnknownFieldSet(series)) for series in view.series)


def to_columns(batch: RunLogged, sequence: int = 0) -> RunLoggedColumns:
    """Convert a message with repeated numbers to the columns view."""
    return RunLoggedColumns(
        batch_id=batch.batch_id,
        run_id=batch.run_id,
        sequence=sequence,
        series=[
            encode_series(
                s.key,
                np.fromiter(s.steps, INT64, len(s.steps)),
                np.fromiter(s.timestamps_ms, INT64, len(s.timestamps_ms)),
                np.fromiter(s.values, FLOAT64, len(s.values)),
            )
            for s in batch.series
        ],
    )


def encode_series(
    key: str, steps: Int64Array, timestamps_ms: Int64Array, values: Float64Array
) -> MetricSeriesColumns:
    """Pack one series; arrays are converted to little-endian int64 and float64 when they are not."""
    return MetricSeriesColumns(
        key=key,
        steps=np.ascontiguousarray(steps, INT64).tobytes(),
        timestamps_ms=np.ascontiguousarray(timestamps_ms, INT64).tobytes(),
        values=np.ascontiguousarray(values, FLOAT64).tobytes(),
    )


def encode(batch_id: str, run_id: str, series: Iterable[Series], sequence: int = 0) -> bytes:
    """Serialize a batch as RunLogged (and, with a sequence, as StreamMetricsRequest)."""
    packed = [encode_series(s.key, s.steps, s.timestamps_ms, s.values) for s in series]
    return RunLoggedColumns(
        batch_id=batch_id, run_id=run_id, series=packed, sequence=sequence
    ).SerializeToString()


def series_of(columns: MetricSeriesColumns) -> Series:
    """Unpack one series without copying; the arrays are read-only views.

    Raises:
        ValueError: a column's size is not a multiple of eight bytes.
    """
    return Series(
        columns.key,
        np.frombuffer(columns.steps, INT64),
        np.frombuffer(columns.timestamps_ms, INT64),
        np.frombuffer(columns.values, FLOAT64),
    )
