"""The hot path: what may be logged, numbering, bounds, and that no point is lost between threads (B7)."""

import math
import threading

import numpy as np
import pytest
from runstream.tracking.buffer import PointBuffer
from runstream_common.errors import InvalidArgument


def make(capacity_points: int = 1000) -> PointBuffer:
    return PointBuffer(capacity_points, on_full=lambda: None)


def test_points_come_out_as_columns_by_key():
    buffer = make()
    buffer.append("loss", 0.5, 3, 1000)
    buffer.append("accuracy", np.float32(0.25), -7, 0)
    buffer.append("loss", True, 2**63 - 1, 1001)
    loss, accuracy = buffer.drain()
    assert (loss.key, loss.steps.tolist(), loss.timestamps_ms.tolist(), loss.values.tolist()) == (
        "loss",
        [3, 2**63 - 1],
        [1000, 1001],
        [0.5, 1.0],
    )
    assert (accuracy.steps.tolist(), accuracy.timestamps_ms.tolist(), accuracy.values.tolist()) == (
        [-7],
        [0],
        [0.25],
    )
    assert buffer.drain() == []


def test_nan_and_infinities_are_kept():
    buffer = make()
    for value in (math.nan, math.inf, -math.inf):
        buffer.append("loss", value, 0, 0)
    (series,) = buffer.drain()
    assert math.isnan(series.values[0])
    assert series.values[1:].tolist() == [math.inf, -math.inf]


def test_points_without_step_are_numbered_by_key_across_both_ways_of_logging():
    buffer = make()
    buffer.append("a", 1.0)
    buffer.append("b", 1.0)
    buffer.append("a", 1.0, 99)
    assert buffer.next_steps("a", 3).tolist() == [1, 2, 3]
    buffer.append("a", 1.0)
    a, b = buffer.drain()
    assert a.steps.tolist() == [0, 99, 4]
    assert b.steps.tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("loss", "high", 0, 0), "value"),
        (("loss", None, 0, 0), "value"),
        (("loss", [1.0, 2.0], 0, 0), "value"),
        (("loss", 10**400, 0, 0), "value"),
        (("loss", 1.0, 1.5, 0), "step"),
        (("loss", 1.0, 2**63, 0), "step"),
        (("loss", 1.0, 0, "now"), "timestamp_ms"),
        (("loss", 1.0, 0, -1), "timestamp_ms"),
        (("../loss", 1.0, 0, 0), "key"),
        (("l" * 251, 1.0, 0, 0), "key"),
        ((7, 1.0, 0, 0), "key"),
        (([], 1.0, 0, 0), "key"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_kept(arguments, field):
    buffer = make()
    with pytest.raises(InvalidArgument) as refused:
        buffer.append(*arguments)
    assert [violation.field for violation in refused.value.violations] == [field]
    assert buffer.drain() == []


def test_a_full_buffer_drops_counts_and_recovers():
    """B7: a bound that is hit is counted, and hitting it does not stop training."""
    buffer = make(capacity_points=10)
    for _ in range(25):
        buffer.append("loss", 1.0, 0, 0)
    assert len(buffer) == 10
    assert buffer.dropped_points == 15
    (series,) = buffer.drain()
    assert len(series) == 10
    buffer.append("loss", 1.0, 0, 0)
    assert len(buffer) == 1
    assert buffer.dropped_points == 15


def test_a_full_buffer_waits_a_moment_for_the_background_thread():
    asked = threading.Event()
    drained = []

    def collector():
        asked.wait(10)
        drained.extend(buffer.drain())

    buffer = PointBuffer(5, on_full=asked.set)
    thread = threading.Thread(target=collector)
    thread.start()
    for step in range(5):
        buffer.append("loss", 1.0, step, 0)
    while not drained:  # each call waits for room for a moment, or is counted as dropped
        buffer.append("loss", 1.0, 5, 0)
    thread.join()
    assert sum(map(len, drained)) == 5
    assert asked.is_set()


def test_eight_threads_lose_no_point_while_the_buffer_is_drained():
    """B7."""
    threads, points = 8, 4000
    buffer = make(capacity_points=threads * points)
    collected = []
    stop = threading.Event()

    def log(worker):
        for step in range(points):
            buffer.append(f"worker/{worker % 3}", float(worker), step, worker)

    def collect():
        while not stop.is_set():
            collected.extend(buffer.drain())

    collector = threading.Thread(target=collect)
    collector.start()
    workers = [threading.Thread(target=log, args=(worker,)) for worker in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    stop.set()
    collector.join()
    collected.extend(buffer.drain())
    seen = {
        (series.key, int(step), int(worker))
        for series in collected
        for step, worker in zip(series.steps, series.timestamps_ms, strict=True)
    }
    assert sum(map(len, collected)) == threads * points
    assert len(seen) == threads * points
    assert buffer.dropped_points == 0
