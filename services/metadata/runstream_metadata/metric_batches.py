"""Checks of consumed batches, and their regrouping by series. Whole columns at a time, never point by point.

The same rules as at ingest: a producer that writes to the bus itself has passed no other edge.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from runstream_contract.columns import FLOAT64, INT64, POINT_WIDTH_BYTES
from runstream_contract.limits import MAX_POINTS_PER_BATCH, MAX_SERIES_PER_BATCH
from runstream_contract.names import key_problem

from runstream_metadata import metrics
from runstream_metadata.chunks import MAX_CHUNK_POINTS, EncodedChunk, Order, encode_chunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns

INVALID_KEY: Final = "INVALID_KEY"
INVALID_BATCH_ID: Final = "INVALID_BATCH_ID"
INVALID_RUN_ID: Final = "INVALID_RUN_ID"
INVALID_TIMESTAMP: Final = "INVALID_TIMESTAMP"
LENGTH_MISMATCH: Final = "LENGTH_MISMATCH"
EMPTY_BATCH: Final = "EMPTY_BATCH"
TOO_MANY_POINTS: Final = "TOO_MANY_POINTS"
TOO_LARGE: Final = "TOO_LARGE"
MALFORMED_PROTOBUF: Final = "MALFORMED_PROTOBUF"
MALFORMED_JSON: Final = "MALFORMED_JSON"
UNKNOWN_CONTENT_TYPE: Final = "UNKNOWN_CONTENT_TYPE"
RUN_NOT_FOUND: Final = "RUN_NOT_FOUND"
RUN_DELETED: Final = "RUN_DELETED"

_SHOWN_KEY_LENGTH: Final = 60
_cached_key_problem = lru_cache(maxsize=65_536)(key_problem)


class RefusedBatch(Exception):
    """A batch breaks a rule; sending it again unchanged never helps.

    Args:
        reason: one of the constants above.
        detail: which field, key and index, and what would be right.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A batch that passed ``check``; compared by identity.

    Attributes:
        batch_id: applied once however often it arrives.
        run_id: 32 lowercase hexadecimal characters.
        series: columns as bytes.
        accepted_ms: when the platform took it over, milliseconds since the Unix epoch.
    """

    batch_id: UUID
    run_id: str
    series: Sequence[MetricSeriesColumns]
    accepted_ms: int


class SeriesKey(NamedTuple):
    """Identity of a series; sorts as rows are locked."""

    run_id: str
    key: str


class SeriesWrite(NamedTuple):
    """What a flush adds to one series."""

    latest: metrics.Point
    chunks: list[EncodedChunk]


def check(series: Sequence[MetricSeriesColumns]) -> int:
    """Check keys, shapes and sizes, but not the points, which ``encode`` does for many batches at once.

    Returns:
        The number of points.

    Raises:
        RefusedBatch: the first breach, with index and key.
    """
    if not series:
        raise RefusedBatch(EMPTY_BATCH, "series: must hold at least one metric key")
    if len(series) > MAX_SERIES_PER_BATCH:
        raise RefusedBatch(
            TOO_MANY_POINTS, f"series: holds {len(series)} keys, at most {MAX_SERIES_PER_BATCH} are allowed"
        )
    size_bytes = 0
    for index, one in enumerate(series):
        problem = _cached_key_problem(one.key)
        if problem is not None:
            raise RefusedBatch(INVALID_KEY, f"series[{index}].key: {shown(one.key)} {problem}")
        size = len(one.values)
        if len(one.steps) != size or len(one.timestamps_ms) != size or size % POINT_WIDTH_BYTES or not size:
            raise _shape_problem(index, one)
        size_bytes += size
    if size_bytes > MAX_POINTS_PER_BATCH * POINT_WIDTH_BYTES:
        raise RefusedBatch(
            TOO_MANY_POINTS,
            f"series: holds {size_bytes // POINT_WIDTH_BYTES} points, "
            f"at most {MAX_POINTS_PER_BATCH} are allowed in one message",
        )
    return size_bytes // POINT_WIDTH_BYTES


def _shape_problem(index: int, one: MetricSeriesColumns) -> RefusedBatch:
    lengths = [len(column) / POINT_WIDTH_BYTES for column in (one.steps, one.timestamps_ms, one.values)]
    where = f"series[{index}] (key {shown(one.key)})"
    if lengths == [0, 0, 0]:
        return RefusedBatch(EMPTY_BATCH, f"{where}: must hold at least one point")
    counts = ", ".join(f"{length:g}" for length in lengths)
    return RefusedBatch(
        LENGTH_MISMATCH,
        f"{where}: steps, timestamps_ms and values must be packed 8-byte numbers of equal count, got {counts}",
    )


def check_times(batch: Batch) -> None:
    """Check that no timestamp is before 1970.

    Raises:
        RefusedBatch: with key and index of the first.
    """
    for index, one in enumerate(batch.series):
        times = np.frombuffer(one.timestamps_ms, INT64)
        if times.min() < 0:
            bad = int(np.argmax(times < 0))
            raise RefusedBatch(
                INVALID_TIMESTAMP,
                f"series[{index}].timestamps_ms[{bad}]: key {shown(one.key)}: {int(times[bad])} "
                "must be 0 or greater (milliseconds since 1970)",
            )


def encode(batches: Iterable[Batch]) -> dict[SeriesKey, SeriesWrite]:
    """Put the points of all batches together by series and encode them, sorted by series.

    Points of one series keep the order of the batches.
    """
    columns: defaultdict[SeriesKey, tuple[list[bytes], list[bytes], list[bytes]]] = defaultdict(
        lambda: ([], [], [])
    )
    for batch in batches:
        for one in batch.series:
            steps, times, values = columns[SeriesKey(batch.run_id, one.key)]
            steps.append(one.steps)
            times.append(one.timestamps_ms)
            values.append(one.values)
    return {key: _encode_series(*columns[key]) for key in sorted(columns)}


def has_negative_times(writes: dict[SeriesKey, SeriesWrite]) -> bool:
    """Whether some point is before 1970; ``check_times`` tells whose."""
    return any(chunk.min_time_ms < 0 for write in writes.values() for chunk in write.chunks)


def _encode_series(steps: list[bytes], times: list[bytes], values: list[bytes]) -> SeriesWrite:
    points = metrics.Points(
        np.frombuffer(b"".join(steps), INT64),
        np.frombuffer(b"".join(times), INT64),
        np.frombuffer(b"".join(values), FLOAT64),
    )
    if len(points) <= MAX_CHUNK_POINTS:
        chunk = encode_chunk(points)
        return SeriesWrite(metrics.latest(points, steps_rise=Order.STEPS_RISE in chunk.order), [chunk])
    parts = [points.take(slice(at, at + MAX_CHUNK_POINTS)) for at in range(0, len(points), MAX_CHUNK_POINTS)]
    return SeriesWrite(metrics.latest(points), [encode_chunk(part) for part in parts])


def shown(key: str) -> str:
    """A key as an error shows it."""
    return repr(key if len(key) <= _SHOWN_KEY_LENGTH else f"{key[: _SHOWN_KEY_LENGTH - 3]}...")
