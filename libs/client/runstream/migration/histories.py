"""Whole metric histories of a run, in pieces of bounded size."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from mlflow.store.tracking.dbmodels.models import SqlMetric
from runstream_contract.columns import FLOAT64, INT64, POINT_WIDTH_BYTES, Series
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlflow.entities import Metric, Run

PAGE_POINTS = 25_000
"""Points that are asked for at once; MLflow's own default. As objects of Python they take some 10 MB."""


class HistoryReader(Protocol):
    """Reads the points of a run; exact repeats are left out."""

    def read(self, run: Run) -> Iterator[Series]:
        """All points; a key comes in one piece or in several."""
        ...


class StoreHistories:
    """Histories through an MLflow store, key by key, page by page.

    Args:
        store: such as a tracking server's RestStore.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def read(self, run: Run) -> Iterator[Series]:
        """See HistoryReader."""
        for key in sorted(run.data.metrics):
            token: str | None = None
            while True:
                page = self._store.get_metric_history(
                    run.info.run_id, key, max_results=PAGE_POINTS, page_token=token
                )
                if page:
                    yield _of_metrics(key, page)
                token = page.token
                if not token:
                    break


class DatabaseHistories:
    """Histories straight from the table of MLflow's database, without an object for each point.

    Args:
        engine: SQLAlchemy engine of the store.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def read(self, run: Run) -> Iterator[Series]:
        """See HistoryReader."""
        statement = (
            select(SqlMetric.key, SqlMetric.step, SqlMetric.timestamp, SqlMetric.value, SqlMetric.is_nan)
            .where(SqlMetric.run_uuid == run.info.run_id)
            .order_by(SqlMetric.key, SqlMetric.timestamp, SqlMetric.step)
        )
        with self._engine.connect() as connection:
            rows = connection.execution_options(yield_per=PAGE_POINTS).execute(statement)
            for part in rows.partitions():
                for key, points in groupby(part, key=itemgetter(0)):
                    yield _of_rows(key, list(points))


def _of_rows(key: str, rows: Sequence[Any]) -> Series:
    _, steps, timestamps, values, is_nan = zip(*rows, strict=True)
    numbers = np.array(values, FLOAT64)
    # The database holds 0 where NaN was logged.
    numbers[np.array(is_nan, bool)] = np.nan
    return _unique(Series(key, np.array(steps, INT64), np.array(timestamps, INT64), numbers))


def _of_metrics(key: str, metrics: Iterable[Metric]) -> Series:
    points = list(metrics)
    return _unique(
        Series(
            key,
            np.array([point.step or 0 for point in points], INT64),
            np.array([point.timestamp for point in points], INT64),
            np.array([point.value for point in points], FLOAT64),
        )
    )


def _unique(series: Series) -> Series:
    """The points without exact repeats, which a file store may hold. Every NaN counts as the same."""
    columns = np.empty((len(series), 3), INT64)
    columns[:, 0], columns[:, 1] = series.steps, series.timestamps_ms
    # A copy: of a column that is read elsewhere, NaNs with other bits must not become other ones.
    values = np.where(np.isnan(series.values), np.nan, series.values)
    columns[:, 2] = values.view(INT64)
    rows = np.ascontiguousarray(columns).view(np.dtype((np.void, 3 * POINT_WIDTH_BYTES))).ravel()
    _, first = np.unique(rows, return_index=True)
    if len(first) == len(series):
        return series
    kept = np.sort(first)
    return Series(series.key, series.steps[kept], series.timestamps_ms[kept], series.values[kept])
