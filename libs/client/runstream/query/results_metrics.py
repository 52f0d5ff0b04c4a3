"""Metric histories that the client returns, as numpy columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream.query import frames, notebook

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from runstream_contract.columns import Float64Array, Int64Array

    from runstream.query.results import MetricPoint


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric of one run in short.

    Attributes:
        latest: the greatest (step, timestamp, value).
        point_count: points in the history, repeats counted once.
    """

    run_id: str
    key: str
    latest: MetricPoint
    point_count: int
    min_step: int
    max_step: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            "run_id": self.run_id,
            "key": self.key,
            "latest": self.latest.to_dict(),
            "point_count": self.point_count,
            "min_step": self.min_step,
            "max_step": self.max_step,
        }


@dataclass(frozen=True, slots=True, eq=False)
class MetricHistory:
    """Points of one key of one run, ordered by timestamp, step and value (MLflow's order).

    Attributes:
        steps: int64, shape (n,).
        timestamps_ms: int64, shape (n,), milliseconds since the Unix epoch (UTC).
        values: float64, shape (n,); NaN and infinities are kept.
    """

    run_id: str
    key: str
    steps: Int64Array
    timestamps_ms: Int64Array
    values: Float64Array

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"MetricHistory(run_id={self.run_id!r}, key={self.key!r}, {len(self)} points)"

    @property
    def timestamps(self) -> np.ndarray[Any, np.dtype[np.datetime64]]:
        """The times as datetime64[ms], without copying."""
        return self.timestamps_ms.view("datetime64[ms]")

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with step, timestamp (UTC) and value; needs the extra "pandas"."""
        return _data_frame({"step": self.steps}, self.timestamps_ms, {"value": self.values})

    def to_arrow(self) -> pa.Table:
        """A table with step, timestamp (ms, UTC) and value; needs the extra "arrow"."""
        return _arrow_table({"step": self.steps}, self.timestamps_ms, {"value": self.values})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready columns."""
        return {
            "run_id": self.run_id,
            "key": self.key,
            "steps": self.steps.tolist(),
            "timestamps_ms": self.timestamps_ms.tolist(),
            "values": [frames.json_number(value) for value in self.values.tolist()],
        }

    def _repr_html_(self) -> str:
        return notebook.history_html(self.run_id, self.key, self.steps, self.values)


class MetricHistories(Mapping[tuple[str, str], MetricHistory]):
    """Histories by (run id, key), in the order of the answer. Histories without points are not there."""

    def __init__(self, histories: Mapping[tuple[str, str], MetricHistory]) -> None:
        self._histories = dict(histories)

    def __getitem__(self, run_and_key: tuple[str, str]) -> MetricHistory:
        return self._histories[run_and_key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._histories)

    def __len__(self) -> int:
        return len(self._histories)

    def __repr__(self) -> str:
        points = sum(len(history) for history in self.values())
        return f"MetricHistories({len(self)} histories, {points} points)"

    def to_pandas(self) -> pd.DataFrame:
        """One long data frame with run_id, key, step, timestamp and value; needs the extra "pandas"."""
        pandas = frames.pandas()
        parts = [h.to_pandas().assign(run_id=h.run_id, key=h.key) for h in self.values()]
        columns = ["run_id", "key", "step", "timestamp", "value"]
        return (
            pandas.concat(parts, ignore_index=True)[columns] if parts else pandas.DataFrame(columns=columns)
        )

    def _repr_html_(self) -> str:
        return "".join(notebook.history_html(h.run_id, h.key, h.steps, h.values) for h in self.values())


@dataclass(frozen=True, slots=True, eq=False)
class SampledHistory:
    """One history downsampled in the store; arrays are parallel.

    Attributes:
        axis: "step", "time" or "relative_time".
        sampling: "min_max_mean", "lttb" or "first_in_bucket".
        axis_values: int64 position on the axis (steps or milliseconds).
        values: value of the real point; with min_max_mean the mean of the bucket, NaN when it has no finite value.
        min_values: least value of each bucket; None unless min_max_mean.
        max_values: greatest value of each bucket; None unless min_max_mean.
        point_counts: points of each bucket; None unless min_max_mean.
        total_point_count: points of the history before sampling.
    """

    run_id: str
    key: str
    axis: str
    sampling: str
    axis_values: Int64Array
    steps: Int64Array
    timestamps_ms: Int64Array
    values: Float64Array
    min_values: Float64Array | None
    max_values: Float64Array | None
    point_counts: Int64Array | None
    total_point_count: int

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"SampledHistory(run_id={self.run_id!r}, key={self.key!r}, "
            f"{len(self)} of {self.total_point_count} points, {self.sampling} by {self.axis})"
        )

    def columns(self) -> dict[str, Any]:
        """The arrays by name without timestamps; those that the sampling does not fill are left out."""
        optional = {"min": self.min_values, "max": self.max_values, "point_count": self.point_counts}
        return {
            "value": self.values,
            **{name: array for name, array in optional.items() if array is not None},
        }

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with axis, step, timestamp, value (and min, max, point_count); needs the extra "pandas"."""
        return _data_frame({"axis": self.axis_values, "step": self.steps}, self.timestamps_ms, self.columns())

    def to_arrow(self) -> pa.Table:
        """The same as an Arrow table; needs the extra "arrow"."""
        return _arrow_table(
            {"axis": self.axis_values, "step": self.steps}, self.timestamps_ms, self.columns()
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready columns."""
        arrays = {"axis_values": self.axis_values, "steps": self.steps, "timestamps_ms": self.timestamps_ms}
        floats = {"values": self.values, "min_values": self.min_values, "max_values": self.max_values}
        return {
            "run_id": self.run_id,
            "key": self.key,
            "axis": self.axis,
            "sampling": self.sampling,
            "total_point_count": self.total_point_count,
            **{name: array.tolist() for name, array in arrays.items()},
            **{
                n: None if a is None else [frames.json_number(v) for v in a.tolist()]
                for n, a in floats.items()
            },
            "point_counts": None if self.point_counts is None else self.point_counts.tolist(),
        }

    def _repr_html_(self) -> str:
        return notebook.history_html(
            self.run_id, self.key, self.axis_values, self.values, self.total_point_count
        )


def _data_frame(before: dict[str, Any], timestamps_ms: Int64Array, after: dict[str, Any]) -> Any:
    pandas = frames.pandas()
    timestamps = pandas.DatetimeIndex(timestamps_ms.view("datetime64[ms]")).tz_localize("UTC")
    return pandas.DataFrame({**before, "timestamp": timestamps, **after})


def _arrow_table(before: dict[str, Any], timestamps_ms: Int64Array, after: dict[str, Any]) -> Any:
    pyarrow = frames.arrow()
    timestamps = pyarrow.array(timestamps_ms).cast(pyarrow.timestamp("ms", tz="UTC"))
    return frames.arrow_table({**before, "timestamp": timestamps, **after})
