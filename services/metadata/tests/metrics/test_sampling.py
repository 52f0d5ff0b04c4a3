"""Downsampling against plain Python that goes point by point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from runstream_common.errors import InvalidArgument
from runstream_metadata import sampling
from runstream_metadata.histories import StepRange
from runstream_metadata.metrics import Ordering, Points, tidy
from runstream_metadata.sampled_histories import (
    Axis,
    Sample,
    SampledHistory,
    sample,
    sample_long,
    sample_points,
)
from runstream_metadata.sampling import Method
from runstream_metadata.store import metric_queries

from services.metadata.tests.metrics.support import Row, message, model_history, same

if TYPE_CHECKING:
    from runstream_common.database import Database
    from runstream_metadata.consumers.run_logged import RunLoggedConsumer
    from runstream_metadata.metric_reads import MetricReads

NAN, INF = float("nan"), float("inf")
VALUES = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([NAN, INF, -INF, 0.0, -0.0]))
STEPS = st.one_of(st.integers(-50, 50), st.integers(-(2**63), 2**63 - 1))
ROWS = st.lists(st.tuples(STEPS, st.integers(0, 300), VALUES), min_size=1, max_size=80)
EVERYTHING = StepRange()


def points_of(rows: list[Row]) -> Points:
    steps, times, values = zip(*rows, strict=True)
    return Points(np.array(steps, np.int64), np.array(times, np.int64), np.array(values, np.float64))


def rows_of(points: Points) -> list[Row]:
    return list(
        zip(points.steps.tolist(), points.timestamps_ms.tolist(), points.values.tolist(), strict=True)
    )


@given(ROWS)
def test_tidy_is_the_model(rows: list[Row]) -> None:
    assert same(rows_of(tidy(points_of(rows), Ordering.TIME)), model_history(rows))


@given(ROWS, st.integers(1, 20), st.sampled_from(list(Axis)))
def test_min_max_mean_is_the_model(rows: list[Row], max_points: int, axis: Axis) -> None:
    ordering = Ordering.STEP if axis is Axis.STEP else Ordering.TIME
    points = tidy(points_of(rows), ordering)
    origin = min(row[1] for row in rows) if axis is Axis.RELATIVE_TIME else 0
    positions = [row[0] if axis is Axis.STEP else row[1] - origin for row in rows_of(points)]
    sampled = sample_points(points, Sample(max_points, axis, Method.MIN_MAX_MEAN, EVERYTHING))
    assert sampled.envelope is not None
    assert sampled.total_point_count == len(points)
    expected = reference_buckets(positions, rows_of(points), max_points)
    assert sampled.axis.tolist() == [bucket[0] for bucket in expected]
    assert sampled.points.steps.tolist() == [bucket[1] for bucket in expected]
    assert sampled.points.timestamps_ms.tolist() == [bucket[2] for bucket in expected]
    np.testing.assert_allclose(sampled.points.values, [bucket[3] for bucket in expected], atol=1e-6)
    np.testing.assert_array_equal(sampled.envelope.least, [bucket[4] for bucket in expected])
    np.testing.assert_array_equal(sampled.envelope.greatest, [bucket[5] for bucket in expected])
    assert sampled.envelope.counts.tolist() == [bucket[6] for bucket in expected]


def reference_buckets(positions: list[int], rows: list[Row], max_points: int) -> list[tuple]:
    if len(rows) <= max_points:
        return [
            (at, row[0], row[1], row[2], row[2], row[2], 1) for at, row in zip(positions, rows, strict=True)
        ]
    first, span = positions[0], positions[-1] - positions[0] + 1
    buckets: dict[int, list[tuple[int, Row]]] = {}
    for at, row in zip(positions, rows, strict=True):
        buckets.setdefault((at - first) * max_points // span, []).append((at, row))
    return [summary(bucket) for _, bucket in sorted(buckets.items())]


def summary(bucket: list[tuple[int, Row]]) -> tuple:
    values = [row[2] for _, row in bucket]
    finite = [value for value in values if math.isfinite(value)]
    numbers = [value for value in values if not math.isnan(value)]
    at, (step, time_ms, _) = bucket[0]
    return (
        at,
        step,
        time_ms,
        math.fsum(finite) / len(finite) if finite else NAN,
        min(numbers, default=NAN),
        max(numbers, default=NAN),
        len(bucket),
    )


@given(st.integers(1, 2000), st.integers(1, 100))
def test_first_in_bucket_is_ntile(count: int, buckets: int) -> None:
    """MLflow's rule: first row of each NTILE bucket, and always the last row."""
    assume(count > buckets)
    rows: list[int] = []
    start = 0
    for bucket in range(buckets):
        rows.append(start)
        start += count // buckets + (bucket < count % buckets)
    rows[-1] = count - 1
    assert sampling.first_in_bucket(count, buckets).tolist() == rows


def test_first_in_bucket_as_seen_at_mlflow() -> None:
    assert sampling.first_in_bucket(1000, 10).tolist() == [*range(0, 900, 100), 999]
    assert sampling.first_in_bucket(1000, 1).tolist() == [999]


@given(
    st.lists(st.tuples(st.integers(0, 10**6), VALUES), min_size=3, max_size=120, unique_by=lambda p: p[0]),
    st.integers(1, 30),
)
def test_lttb_is_the_reference(pairs: list[tuple[int, float]], count: int) -> None:
    assume(len(pairs) > count)
    pairs.sort()
    axis, values = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    chosen = sampling.lttb(axis, values, count).tolist()
    assert len(set(chosen)) == count
    assert chosen == sorted(chosen)
    areas_chosen(pairs, chosen, count)


def areas_chosen(pairs: list[tuple[int, float]], chosen: list[int], count: int) -> None:
    """Each choice has the largest triangle of its bucket; equal areas may fall to either."""
    last = len(pairs) - 1
    if count < 3:
        assert chosen == [0, last][-count:]
        return
    edges = [1 + i * (last - 1) // (count - 2) for i in range(count - 1)] + [last + 1]
    height = [value if math.isfinite(value) else 0.0 for _, value in pairs]
    for i in range(count - 2):
        following = range(edges[i + 1], edges[i + 2])
        finite = [j for j in following if math.isfinite(pairs[j][1])]
        centre_x = sum(pairs[j][0] for j in following) / len(following)
        centre_y = sum(height[j] for j in finite) / max(1, len(finite))
        before = chosen[i]

        def area(j: int, x: float = centre_x, y: float = centre_y, a: int = before) -> float:
            if not math.isfinite(pairs[j][1]):
                return -1.0
            return abs(
                (pairs[a][0] - x) * (height[j] - height[a]) - (pairs[a][0] - pairs[j][0]) * (y - height[a])
            )

        best = max(area(j) for j in range(edges[i], edges[i + 1]))
        assert edges[i] <= chosen[i + 1] < edges[i + 1]
        assert area(chosen[i + 1]) == pytest.approx(best, rel=1e-6, abs=1e-3)


def test_lttb_keeps_a_spike() -> None:
    values = np.zeros(10_000)
    values[4321] = 9.0
    assert 4321 in sampling.lttb(np.arange(10_000), values, 50)


def test_buckets_of_extreme_steps() -> None:
    steps = np.array([-(2**63), -1, 0, 2**63 - 1])
    buckets = sampling.IntervalBuckets(int(steps[0]), int(steps[-1]), 2)
    assert buckets.add(steps, np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [0, 2]
    assert buckets.result().mean.tolist() == [1.5, 3.5]


async def test_samples_are_of_distinct_points_in_range(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str
) -> None:
    """C2: charts are cut in the store; repeats weigh once, whatever the chunks."""
    rows = [(i, 10 * i, float(i)) for i in range(1000)]
    for offset, part in enumerate((rows[500:], rows[:600], rows)):
        await consumer.handle([message(run_id, {"loss": part}, offset=offset)])
    for method in Method:
        how = Sample(10, Axis.RELATIVE_TIME, method, StepRange(100, 899))
        sampled = [found async for _, found in reads.sample([run_id], ["loss", "none"], how)]
        assert len(sampled) == 1
        assert sampled[0].total_point_count == 800
        assert len(sampled[0].points) == 10
        assert sampled[0].axis[0] == 0
        assert sampled[0].points.steps[0] == 100
    how = Sample(10, Axis.STEP, Method.MIN_MAX_MEAN, StepRange(100, 899))
    (envelope,) = [found.envelope async for _, found in reads.sample([run_id], ["loss"], how)]
    assert envelope is not None
    assert envelope.counts.tolist() == [80] * 10
    assert envelope.least.tolist() == [float(i) for i in range(100, 900, 80)]


@pytest.mark.parametrize("axis", list(Axis))
@pytest.mark.parametrize("steps", [EVERYTHING, StepRange(70_001, 599_000)])
async def test_long_histories_are_sampled_piece_by_piece(
    consumer: RunLoggedConsumer,
    reads: MetricReads,
    database: Database,
    run_id: str,
    axis: Axis,
    steps: StepRange,
) -> None:
    """Same answer as with all points in memory, though pieces and buckets do not meet."""
    rng = np.random.default_rng(4)
    rows = [
        (i, 5 + 2 * i, value) for i, value in enumerate(rng.choice([NAN, INF, 1.0, 2.5], 600_000).tolist())
    ]
    for offset in range(4):
        part = rows[offset * 140_000 : (offset + 1) * 150_000 + 40_000]
        await consumer.handle([message(run_id, {"loss": part}, offset=offset)])
    series = await reads.find(run_id, "loss")
    assert series is not None
    for method in (Method.MIN_MAX_MEAN, Method.FIRST_IN_BUCKET):
        for max_points in (997, 600_000):
            how = Sample(max_points, axis, method, steps)
            async with metric_queries.snapshot(database) as connection:
                whole = await sample(connection, series.series_id, how)
                pieces = await sample_long(connection, series.series_id, how)
            assert whole is not None
            assert pieces is not None
            check_same_sample(whole, pieces)


def check_same_sample(whole: SampledHistory, pieces: SampledHistory) -> None:
    assert whole.total_point_count == pieces.total_point_count
    np.testing.assert_array_equal(whole.axis, pieces.axis)
    np.testing.assert_array_equal(whole.points.steps, pieces.points.steps)
    np.testing.assert_allclose(whole.points.values, pieces.points.values)
    assert (whole.envelope is None) == (pieces.envelope is None)
    if whole.envelope is not None and pieces.envelope is not None:
        np.testing.assert_array_equal(whole.envelope.least, pieces.envelope.least)
        np.testing.assert_array_equal(whole.envelope.greatest, pieces.envelope.greatest)
        np.testing.assert_array_equal(whole.envelope.counts, pieces.envelope.counts)


async def test_lttb_of_a_long_history_is_refused(
    database: Database,
) -> None:
    how = Sample(10, Axis.STEP, Method.LTTB, EVERYTHING)
    async with metric_queries.snapshot(database) as connection:
        with pytest.raises(InvalidArgument) as error:
            await sample_long(connection, 1, how)
    assert error.value.reason == "HISTORY_TOO_LONG"
