"""Runs the search of logged models. Reads sort keys and ids only; what a page shows is loaded by id afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.search.compile_values import one_of
from runstream_common.search.keyset import Position, SortKey, labelled, page, position_of, relabelled
from runstream_common.search.planning import PLANNER_SETTINGS
from sqlalchemy import BigInteger, ColumnElement, select

from runstream_metadata.store.logged_model_tables import logged_model, logged_model_metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession


@dataclass(frozen=True, slots=True)
class LoggedModelQuery:
    """A page of logged models; the last of the keys is the id.

    Args:
        predicate: the filter; None matches all.
        after: the position to start behind; None for the first page.
        limit: most rows.
    """

    experiment_ids: tuple[int, ...]
    stage: int
    predicate: ColumnElement[bool] | None
    keys: Sequence[SortKey]
    after: Position | None
    limit: int


def newest_value(key: str, dataset_name: str, dataset_digest: str) -> ColumnElement[float]:
    """The newest value of a metric of the model, by (timestamp, step), then by run (MLflow); NULL without one.

    Args:
        dataset_name: only points of this dataset; empty means any.
        dataset_digest: only points of this digest; empty means any.
    """
    point = logged_model_metric.alias()
    statement = select(point.c.value).where(point.c.model_id == logged_model.c.model_id, point.c.key == key)
    if dataset_name:
        statement = statement.where(point.c.dataset_name == dataset_name)
    if dataset_digest:
        statement = statement.where(point.c.dataset_digest == dataset_digest)
    newest = statement.order_by(
        point.c.timestamp_ms.desc(), point.c.step.desc(), point.c.run_id, point.c.metric_id
    ).limit(1)
    return newest.correlate(logged_model).scalar_subquery()


async def find_logged_models(
    connection: AsyncConnection | AsyncSession, query: LoggedModelQuery
) -> list[Position]:
    """Where the page's models stand, in order.

    The connection is in a transaction: the planner's settings hold until it ends.
    """
    await connection.execute(PLANNER_SETTINGS)
    statement = select(*labelled(query.keys)).where(
        one_of(logged_model.c.experiment_id, query.experiment_ids, BigInteger()),
        logged_model.c.lifecycle_stage == query.stage,
    )
    if query.predicate is not None:
        statement = statement.where(query.predicate)
    if any(key.rank is not None for key in query.keys):
        # Metric keys are subqueries, evaluated once here and not in each comparison.
        matched = statement.offset(0).subquery("matched")
        outer = relabelled(query.keys, matched)
        paged = page(select(matched), outer, query.after, query.limit)
    else:
        outer = list(query.keys)
        paged = page(statement, query.keys, query.after, query.limit)
    return [position_of(row, outer) for row in await connection.execute(paged)]
