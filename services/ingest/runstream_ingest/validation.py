"""Checks of a batch at the edge: form of ids and keys, shapes, limits. Whole arrays at a time, never point by point."""

from functools import lru_cache

import numpy as np
from runstream_common.errors import FieldViolation, InvalidArgument
from runstream_contract.columns import INT64, POINT_WIDTH_BYTES
from runstream_contract.limits import MAX_POINTS_PER_BATCH, MAX_SERIES_PER_BATCH
from runstream_contract.names import is_run_id, is_uuid, key_problem
from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns, RunLoggedColumns

MAX_VIOLATIONS = 20
"""Violations listed in one error; the rest of the batch is not looked at."""

cached_key_problem = lru_cache(maxsize=65_536)(key_problem)


def check_batch(batch: RunLoggedColumns) -> int:
    """Check everything about a batch that needs no other service.

    Args:
        batch: the columns view of the request.

    Returns:
        The number of points.

    Raises:
        InvalidArgument: with field, key and index of up to MAX_VIOLATIONS problems.
    """
    violations = _check_ids(batch)
    if len(batch.series) > MAX_SERIES_PER_BATCH:
        violations.append(
            FieldViolation(
                "series", f"holds {len(batch.series)} keys, at most {MAX_SERIES_PER_BATCH} are allowed"
            )
        )
        raise InvalidArgument(violations)
    points = 0
    for index, series in enumerate(batch.series):
        points += len(series.values) // POINT_WIDTH_BYTES
        _check_series(index, series, violations)
        if len(violations) >= MAX_VIOLATIONS:
            break
    if points > MAX_POINTS_PER_BATCH:
        violations.append(
            FieldViolation(
                "series", f"holds {points} points, at most {MAX_POINTS_PER_BATCH} are allowed in one message"
            )
        )
    if violations:
        raise InvalidArgument(violations[:MAX_VIOLATIONS])
    return points


def _check_ids(batch: RunLoggedColumns) -> list[FieldViolation]:
    violations = []
    if not is_uuid(batch.batch_id):
        violations.append(
            FieldViolation("batch_id", "must be a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91")
        )
    if not is_run_id(batch.run_id):
        violations.append(FieldViolation("run_id", "must be 32 lowercase hexadecimal characters"))
    if not batch.series:
        violations.append(FieldViolation("series", "must hold at least one metric key"))
    return violations


def _check_series(index: int, series: MetricSeriesColumns, violations: list[FieldViolation]) -> None:
    problem = cached_key_problem(series.key)
    if problem is not None:
        violations.append(FieldViolation(f"series[{index}].key", f"{_shown(series.key)} {problem}"))
    lengths = [
        len(column) // POINT_WIDTH_BYTES for column in (series.steps, series.timestamps_ms, series.values)
    ]
    where = f"series[{index}] (key {_shown(series.key)})"
    if not lengths[0] == lengths[1] == lengths[2]:
        violations.append(
            FieldViolation(
                where,
                "steps, timestamps_ms and values must have equal lengths, got "
                f"{lengths[0]}, {lengths[1]} and {lengths[2]}",
            )
        )
    elif lengths[0] == 0:
        violations.append(FieldViolation(where, "must hold at least one point"))
    elif any(
        len(column) % POINT_WIDTH_BYTES for column in (series.steps, series.timestamps_ms, series.values)
    ):
        violations.append(FieldViolation(where, "arrays must be packed 8-byte numbers"))
    else:
        _check_times(index, series, violations)


def _check_times(index: int, series: MetricSeriesColumns, violations: list[FieldViolation]) -> None:
    times = np.frombuffer(series.timestamps_ms, INT64)
    if times.min() >= 0:
        return
    bad = int(np.argmax(times < 0))
    violations.append(
        FieldViolation(
            f"series[{index}].timestamps_ms[{bad}]",
            f"key {_shown(series.key)}: {int(times[bad])} must be 0 or greater (milliseconds since 1970)",
        )
    )


def _shown(key: str) -> str:
    return repr(key if len(key) <= 60 else f"{key[:57]}...")
