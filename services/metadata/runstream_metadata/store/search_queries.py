"""Runs the searches. Reads sort keys and ids only; what a page shows is loaded by id afterwards.

A search that is ordered by a metric or by start time looks at a *window* first: the next few thousand entries of the
index that has that order. When the page fills up there, which is the usual case, nothing else is read, however many
runs the experiment has. A window that was read to its end in vain gives way to the statement over everything, which
lets the planner start from the filter: its cost is bounded by the experiment's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.search.keyset import Position, SortKey, labelled, page, position_of, relabelled
from runstream_common.search.planning import PLANNER_SETTINGS
from sqlalchemy import ColumnElement, Select, select

from runstream_metadata.store.run_order import joined_keys
from runstream_metadata.store.search_windows import phases
from runstream_metadata.store.tables import experiment, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

    from runstream_metadata.store.run_query import RunQuery


async def find_runs(connection: AsyncConnection | AsyncSession, query: RunQuery) -> list[Position]:
    """Where the page's runs stand, in order; the last key of a position is the run id.

    The connection is in a transaction: the planner's settings hold until it ends.
    """
    await connection.execute(PLANNER_SETTINGS)
    found = await _find_in_windows(connection, query)
    if found is not None:
        return found
    statement, keys = everything(query)
    return [position_of(row, keys) for row in await connection.execute(statement)]


async def _find_in_windows(
    connection: AsyncConnection | AsyncSession, query: RunQuery
) -> list[Position] | None:
    """The page, or None when the windows do not hold it."""
    found: list[Position] = []
    order = phases(query)
    for phase in order.parts:
        rows = await connection.execute(phase.page(query.limit - len(found)))
        found += [phase.position_of(row) for row in rows]
        if len(found) == query.limit:
            return found
        entry_count = await connection.execute(phase.entry_count())
        if entry_count.scalar_one() >= phase.size:
            return None
    return found if order.complete else None


def everything(query: RunQuery) -> tuple[Select[Any], list[SortKey]]:
    """The page from one statement over all matching runs, and the keys of its rows."""
    source, keys = joined_keys(run, run, query.order, query.scope)
    conditions = [query.scope.experiments(run.c.experiment_id), query.scope.visible(run.c.lifecycle_stage)]
    if query.predicate is not None:
        conditions.append(query.predicate(run))
    matching = select(*labelled(keys)).select_from(source).where(*conditions)
    # OFFSET 0 keeps the planner from trading the filter's index for the order's: that was tried, and failed.
    matched = matching.offset(0).subquery("matched")
    outer = relabelled(keys, matched)
    return page(select(matched), outer, query.after, query.limit), outer


@dataclass(frozen=True, slots=True)
class ExperimentQuery:
    """A page of experiments; the last of the keys is the id."""

    stages: tuple[int, ...]
    predicate: ColumnElement[bool] | None
    keys: Sequence[SortKey]
    after: Position | None
    limit: int


async def find_experiments(
    connection: AsyncConnection | AsyncSession, query: ExperimentQuery
) -> list[Position]:
    """Where the page's experiments stand, in order."""
    statement = select(*labelled(query.keys)).where(experiment.c.lifecycle_stage.in_(query.stages))
    if query.predicate is not None:
        statement = statement.where(query.predicate)
    rows = await connection.execute(page(statement, query.keys, query.after, query.limit))
    return [position_of(row, query.keys) for row in rows]
