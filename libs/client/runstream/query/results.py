"""What the client returns: frozen, typed, with datetimes in UTC. Histories are in `results_metrics`.

Every type has `to_dict()`, the shape that `--json` of the command line prints (docs/cli.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from runstream.query import frames, notebook

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Position:
    """Where one message lies on the bus; a writer hands it to a reader to read its own write."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment.

    Attributes:
        experiment_id: decimal number; "0" is "Default".
        lifecycle_stage: "active" or "deleted".
    """

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    creation_time: datetime
    last_update_time: datetime
    tags: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            "experiment_id": self.experiment_id,
            "name": self.name,
            "artifact_location": self.artifact_location,
            "lifecycle_stage": self.lifecycle_stage,
            "creation_time": frames.time_text(self.creation_time),
            "last_update_time": frames.time_text(self.last_update_time),
            "tags": dict(self.tags),
        }


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One point of a metric.

    Attributes:
        value: NaN and infinities are kept.
        timestamp: when it was logged, UTC.
    """

    value: float
    step: int
    timestamp: datetime

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields; NaN and infinities as text."""
        return {
            "value": frames.json_number(self.value),
            "step": self.step,
            "timestamp": frames.time_text(self.timestamp),
        }


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset that a run used; `tags` belong to the link between the two."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    tags: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        names = ("name", "digest", "source_type", "source", "schema", "profile")
        return {**{name: getattr(self, name) for name in names}, "tags": dict(self.tags)}


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """A logged model that a run produced.

    Attributes:
        step: at which it was produced.
    """

    model_id: str
    step: int


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was stored when it was read.

    Attributes:
        run_id: 32 lowercase hexadecimal characters.
        status: "RUNNING", "SCHEDULED", "FINISHED", "FAILED" or "KILLED".
        status_reason: why, e.g. "lost" or the exception's text; empty when there is nothing to say.
        start_time: None when it was not given.
        end_time: None while it runs.
        lease_expire_time: None for runs without heartbeats.
        parent_run_id: run it is nested in; empty at the top.
        latest: latest point of each metric, by key.
        model_inputs: ids of logged models that it used.
        model_outputs: logged models that it produced.
    """

    run_id: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    status_reason: str
    start_time: datetime | None
    end_time: datetime | None
    artifact_uri: str
    lifecycle_stage: str
    lease_expire_time: datetime | None
    parent_run_id: str
    latest: Mapping[str, MetricPoint]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    inputs: tuple[DatasetInput, ...]
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[ModelOutput, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """Latest value of each metric, by key."""
        return {key: point.value for key, point in self.latest.items()}

    @property
    def duration_seconds(self) -> float | None:
        """From start to end; None while it runs or when no start was given."""
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            **self.facts(),
            "artifact_uri": self.artifact_uri,
            "lease_expire_time": frames.time_text(self.lease_expire_time),
            "metrics": {key: point.to_dict() for key, point in self.latest.items()},
            "params": dict(self.params),
            "tags": dict(self.tags),
            "inputs": [item.to_dict() for item in self.inputs],
            "model_inputs": list(self.model_inputs),
            "model_outputs": [{"model_id": item.model_id, "step": item.step} for item in self.model_outputs],
        }

    def facts(self) -> dict[str, Any]:
        """The run without params, metrics, tags and inputs, JSON-ready."""
        names = ("run_id", "experiment_id", "run_name", "user_id", "status", "status_reason")
        return {
            **{name: getattr(self, name) for name in names},
            "start_time": frames.time_text(self.start_time),
            "end_time": frames.time_text(self.end_time),
            "lifecycle_stage": self.lifecycle_stage,
            "parent_run_id": self.parent_run_id,
        }

    def _repr_html_(self) -> str:
        return notebook.run_html(self)


class RunTable(Sequence[Run]):
    """Runs as a table: one row a run, a column a fact, param, metric and tag."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = tuple(runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> RunTable: ...
    def __getitem__(self, index: int | slice) -> Run | RunTable:
        return RunTable(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"RunTable({len(self)} runs)"

    def columns(self) -> dict[str, list[Any]]:
        """Columns by name; `metrics.K`, `params.K` and `tags.K` as in MLflow's search_runs, None where missing."""
        facts = (
            "run_id",
            "experiment_id",
            "run_name",
            "user_id",
            "status",
            "status_reason",
            "start_time",
            "end_time",
        )
        columns: dict[str, list[Any]] = {name: [getattr(run, name) for run in self] for name in facts}
        for group in ("metrics", "params", "tags"):
            rows: list[Mapping[str, Any]] = [getattr(run, group) for run in self]
            for key in sorted({key for row in rows for key in row}):
                columns[f"{group}.{key}"] = [row.get(key) for row in rows]
        return columns

    def to_pandas(self) -> pd.DataFrame:
        """A data frame of `columns()`; needs the extra "pandas"."""
        return frames.pandas().DataFrame(self.columns())

    def to_arrow(self) -> pa.Table:
        """A table of `columns()`; needs the extra "arrow"."""
        return frames.arrow_table(self.columns())

    def _repr_html_(self) -> str:
        return notebook.runs_html(self)


@dataclass(frozen=True, slots=True)
class ComparedValue:
    """One line of a comparison: the same key in every run, None where a run does not have it.

    Attributes:
        kind: "param" or "metric".
        differs: whether the runs disagree (NaN equals NaN).
    """

    kind: str
    key: str
    values: tuple[str | float | None, ...]
    differs: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        values = [frames.json_number(v) if isinstance(v, float) else v for v in self.values]
        return {"kind": self.kind, "key": self.key, "values": values, "differs": self.differs}


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Params and latest metrics of several runs side by side, params first, each by key."""

    runs: RunTable

    def rows(self, *, only_different: bool = False) -> tuple[ComparedValue, ...]:
        """The lines of the comparison.

        Args:
            only_different: leave out lines in which all runs agree.
        """
        rows = [
            *self._rows("param", [r.params for r in self.runs]),
            *self._rows("metric", [r.metrics for r in self.runs]),
        ]
        return tuple(row for row in rows if row.differs or not only_different)

    def to_pandas(self) -> pd.DataFrame:
        """A data frame with index (kind, key) and one column a run id; needs the extra "pandas"."""
        pandas, rows = frames.pandas(), self.rows()
        index = pandas.MultiIndex.from_tuples([(row.kind, row.key) for row in rows], names=["kind", "key"])
        return pandas.DataFrame(
            [row.values for row in rows], index=index, columns=[r.run_id for r in self.runs]
        )

    def _repr_html_(self) -> str:
        return notebook.comparison_html(self)

    @staticmethod
    def _rows(kind: str, groups: Sequence[Mapping[str, Any]]) -> list[ComparedValue]:
        rows = []
        for key in sorted({key for group in groups for key in group}):
            values = tuple(group.get(key) for group in groups)
            rows.append(ComparedValue(kind, key, values, len({_comparable(v) for v in values}) > 1))
        return rows


def _comparable(value: str | float | None) -> object:
    return "NaN" if isinstance(value, float) and value != value else value  # noqa: PLR0124 - true for NaN only
