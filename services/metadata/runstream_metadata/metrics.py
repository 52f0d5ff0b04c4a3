"""Rules of metric points: which is the latest, in what order a history is told, what counts as a repeat.

Source: MLflow's server. A point is (run, key, step, timestamp, value); exact repeats count once. NaN compares as 0
where points tie and equals NaN; infinities are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from runstream_contract.columns import Float64Array, Int64Array

    Selection: TypeAlias = slice | npt.NDArray[np.intp] | npt.NDArray[np.bool_]
    """What ``take`` takes."""


class Ordering(Enum):
    """What a history is ordered by first; ties fall to the other one, then to the value."""

    TIME = "time"
    STEP = "step"


class Point(NamedTuple):
    """One point of a series."""

    step: int
    timestamp_ms: int
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of one series as parallel arrays."""

    steps: Int64Array
    timestamps_ms: Int64Array
    values: Float64Array

    def __len__(self) -> int:
        return len(self.values)

    def at(self, index: int) -> Point:
        """One point."""
        return Point(int(self.steps[index]), int(self.timestamps_ms[index]), float(self.values[index]))

    def take(self, which: Selection) -> Points:
        """The points that a slice, an index array or a mask selects."""
        return Points(self.steps[which], self.timestamps_ms[which], self.values[which])


def empty_points() -> Points:
    """No points."""
    return Points(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def join(parts: list[Points]) -> Points:
    """Points of several parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return empty_points()
    return Points(
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.timestamps_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def latest(points: Points, *, steps_rise: bool = False) -> Point:
    """The latest of one or more points: greatest step, then timestamp, then value with NaN as 0; the first of equals.

    Args:
        steps_rise: the caller knows that each step is greater than the one before.
    """
    if steps_rise:
        return points.at(-1)
    candidates = np.flatnonzero(points.steps == points.steps.max())
    if len(candidates) > 1:
        times = points.timestamps_ms[candidates]
        candidates = candidates[times == times.max()]
    if len(candidates) > 1:
        return points.at(int(candidates[np.argmax(comparable(points.values[candidates]))]))
    return points.at(int(candidates[0]))


def comparable(values: Float64Array) -> Float64Array:
    """Values as they compare where points tie: NaN as 0."""
    return np.where(np.isnan(values), 0.0, values)


def tidy(points: Points, ordering: Ordering) -> Points:
    """The points in order, each once.

    NaN and 0 tie for their place, 0 comes first; they are two points all the same. 0.0 and -0.0 are one.
    """
    first, second = _sort_columns(points, ordering)
    if _rises(first, second):
        return points
    in_order = points.take(_order(points, first, second))
    return in_order.take(~_repeats_neighbour(in_order))


def without(points: Points, known: Points) -> Points:
    """The points, ordered by time, that are not among the known ones, each once."""
    both = join([known, points])
    order = _order(both, both.timestamps_ms, both.steps)
    # The order is stable, so a repeat of a known point comes behind it.
    new = ~_repeats_neighbour(both.take(order)) & (order >= len(known))
    return both.take(order[new])


def _order(points: Points, first: Int64Array, second: Int64Array) -> npt.NDArray[np.intp]:
    return np.lexsort((np.isnan(points.values), comparable(points.values), second, first))


def _sort_columns(points: Points, ordering: Ordering) -> tuple[Int64Array, Int64Array]:
    if ordering is Ordering.TIME:
        return points.timestamps_ms, points.steps
    return points.steps, points.timestamps_ms


def _rises(first: Int64Array, second: Int64Array) -> bool:
    """Whether each pair is greater than the one before, so that nothing needs sorting and nothing repeats."""
    rises = first[1:] > first[:-1]
    if rises.all():
        return True
    return bool((rises | ((first[1:] == first[:-1]) & (second[1:] > second[:-1]))).all())


def _repeats_neighbour(points: Points) -> npt.NDArray[np.bool_]:
    """Which points of ordered ones repeat the one before."""
    values, nan = points.values, np.isnan(points.values)
    repeats = np.zeros(len(points), np.bool_)
    repeats[1:] = (
        (points.steps[1:] == points.steps[:-1])
        & (points.timestamps_ms[1:] == points.timestamps_ms[:-1])
        & ((values[1:] == values[:-1]) | (nan[1:] & nan[:-1]))
    )
    return repeats


def value_rank(value: float) -> tuple[float, bool]:
    """Place of a value among those of points that are otherwise the same: NaN as 0, but behind it."""
    return (0.0, True) if math.isnan(value) else (value, False)
