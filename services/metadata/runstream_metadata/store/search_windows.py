"""Windows: the next entries of an index that has the order of the search, and the runs of them that match.

Every window is one phase of an order. By a metric the phases are the runs with a number, those with NaN and those
without the metric; by start time there is one phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.search.keyset import PRESENT, KeyAt, Position, SortKey, labelled, page, position_of
from sqlalchemy import ColumnElement, FromClause, Select, and_, exists, func, or_, select, union_all

from runstream_metadata.store.metric_tables import latest_metric
from runstream_metadata.store.run_order import (
    MISSING_RANK,
    NAN,
    NAN_RANK,
    AttributeOrder,
    MetricOrder,
    joined_keys,
    tie_keys,
)
from runstream_metadata.store.tables import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Row, Subquery
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    from runstream_metadata.store.run_query import RunQuery

MAX_WINDOWED_ROWS = 2_001
"""More rows (a page and the one that tells of the next) read so much of an experiment that a window saves nothing."""

MAX_LEGS = 50
"""Pairs of experiment and stage that a window merges; more are searched at once."""

WINDOW_PER_RESULT = 20
MIN_WINDOW = 2_000
"""Entries of a window: enough that a filter which one run in twenty passes fills the page, few enough that reading
it in vain costs some milliseconds."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of an order.

    Args:
        entries: the window.
        size: entries at which the window was cut; with ties there may be more.
        statement: the matching runs, without order and bound.
        keys: the order within the phase.
        prefix: what the positions of all its rows begin with.
        after: where to start within the phase.
    """

    entries: Subquery
    size: int
    statement: Select[Any]
    keys: list[SortKey]
    prefix: Position
    after: Position | None

    def page(self, limit: int) -> Select[Any]:
        """The first matching runs."""
        return page(self.statement, self.keys, self.after, limit)

    def entry_count(self) -> Select[int]:
        """How many entries the window has; fewer than ``size`` means that the phase ends in it."""
        return select(func.count()).select_from(self.entries)

    def position_of(self, row: Row[Any]) -> Position:
        """Where a row stands in the whole order."""
        return self.prefix + position_of(row, self.keys)


@dataclass(frozen=True, slots=True)
class Phases:
    """Parts of an order from the query's position on.

    Args:
        parts: each is made when the ones before have run dry, which is rare.
        complete: whether nothing comes behind them.
    """

    parts: Iterable[Phase] = ()
    complete: bool = False


def phases(query: RunQuery) -> Phases:
    """The phases for which an index has the query's order."""
    first = query.order[0] if query.order else AttributeOrder("start_time_ms", descending=True)
    leg_count = len(query.scope.experiment_ids) * len(query.scope.stages)
    if query.limit > MAX_WINDOWED_ROWS or leg_count > MAX_LEGS:
        return Phases()
    match first:
        case AttributeOrder(name="start_time_ms"):
            return Phases([_by_start_time(query, first)], complete=True)
        case MetricOrder():
            # Within NaN and missing the next term rules, for which there is no index.
            return Phases(_by_metric(query, first), complete=len(query.order) == 1)
        case _:
            return Phases()


def _by_metric(query: RunQuery, term: MetricOrder) -> Iterator[Phase]:
    rank = query.after[0].rank if query.after else PRESENT
    if rank == PRESENT:
        yield _numbers(query, term)
    if len(query.order) == 1:
        if rank <= NAN_RANK:
            yield _nans(query, term)
        yield _missing(query, term)


def _numbers(query: RunQuery, term: MetricOrder) -> Phase:
    conditions: list[ColumnElement[bool]] = [latest_metric.c.value < NAN]
    if query.after is not None:
        value = latest_metric.c.value
        last = query.after[0].value
        conditions.append(value <= last if term.descending else value >= last)
    entries = _metric_entries(query, term, conditions)
    runs = entries.join(run, run.c.run_id == entries.c.run_id)
    source, rest = joined_keys(run, runs, query.order[1:], query.scope)
    keys = [SortKey(entries.c.value, term.descending), *rest]
    return _phase(query, entries, run, source, keys, prefix=(), after=query.after, more=[_visible(query)])


def _nans(query: RunQuery, term: MetricOrder) -> Phase:
    entries = _metric_entries(query, term, [latest_metric.c.value == NAN])
    source = entries.join(run, run.c.run_id == entries.c.run_id)
    prefix = (KeyAt(NAN_RANK),)
    return _phase(
        query, entries, run, source, tie_keys(run), prefix, _within(query, prefix), more=[_visible(query)]
    )


def _missing(query: RunQuery, term: MetricOrder) -> Phase:
    prefix = (KeyAt(MISSING_RANK),)
    after = _within(query, prefix)
    entries = _run_entries(query, descending=True, exact=True, after=after)
    values = latest_metric.alias()
    has_metric = exists().where(
        values.c.run_id == entries.c.run_id,
        values.c.key == term.key,
        query.scope.experiments(values.c.experiment_id),
    )
    return _phase(query, entries, entries, entries, tie_keys(entries), prefix, after, more=[~has_metric])


def _by_start_time(query: RunQuery, term: AttributeOrder) -> Phase:
    exact = not query.order
    entries = _run_entries(query, descending=term.descending, exact=exact, after=query.after)
    source, keys = joined_keys(entries, entries, query.order, query.scope)
    return _phase(query, entries, entries, source, keys, prefix=(), after=query.after, more=[])


def _phase(
    query: RunQuery,
    entries: Subquery,
    runs: FromClause,
    source: FromClause,
    keys: list[SortKey],
    prefix: Position,
    after: Position | None,
    more: Sequence[ColumnElement[bool]],
) -> Phase:
    conditions = [*more, *([query.predicate(runs)] if query.predicate else [])]
    statement = select(*labelled(keys)).select_from(source).where(*conditions)
    return Phase(entries, _window_size(query), statement, keys, prefix, after)


def _metric_entries(
    query: RunQuery, term: MetricOrder, conditions: Sequence[ColumnElement[bool]]
) -> Subquery:
    def by_value(columns: ReadOnlyColumnCollection[str, Any]) -> list[ColumnElement[Any]]:
        return [columns.value.desc() if term.descending else columns.value]

    legs = [
        select(latest_metric.c.run_id, latest_metric.c.value)
        .where(latest_metric.c.experiment_id == experiment_id, latest_metric.c.key == term.key, *conditions)
        .order_by(*by_value(latest_metric.c))
        for experiment_id in query.scope.experiment_ids
    ]
    # All entries with the last value are in the window, since their runs' start times decide among them.
    return _merged(legs, by_value).fetch(_window_size(query), with_ties=True).subquery("entries")


def _run_entries(query: RunQuery, *, descending: bool, exact: bool, after: Position | None) -> Subquery:
    """Runs by start time: cut in the whole order of ties if ``exact``, else behind all that start with the last."""

    def by_start_time(columns: ReadOnlyColumnCollection[str, Any]) -> list[ColumnElement[Any]]:
        start_time = columns.start_time_ms
        return [start_time.desc() if descending else start_time, *([columns.run_id] if exact else [])]

    bounds = [] if after is None else [_start_time_bound(after, descending=descending, exact=exact)]
    legs = [
        select(run)
        .where(run.c.experiment_id == experiment_id, run.c.lifecycle_stage == stage, *bounds)
        .order_by(*by_start_time(run.c))
        for experiment_id in query.scope.experiment_ids
        for stage in query.scope.stages
    ]
    merged, size = _merged(legs, by_start_time), _window_size(query)
    return (merged.limit(size) if exact else merged.fetch(size, with_ties=True)).subquery("entries")


def _start_time_bound(after: Position, *, descending: bool, exact: bool) -> ColumnElement[bool]:
    column = run.c.start_time_ms
    start_time_ms = after[0].value
    bound: ColumnElement[bool] = column <= start_time_ms if descending else column >= start_time_ms
    return and_(bound, or_(column < start_time_ms, run.c.run_id > after[1].value)) if exact else bound


def _merged(
    legs: list[Select[Any]],
    order: Callable[[ReadOnlyColumnCollection[str, Any]], list[ColumnElement[Any]]],
) -> Select[Any]:
    """All legs in one order. Each leg has it too: only then does the planner merge their index scans."""
    if len(legs) == 1:
        return legs[0]
    merged = union_all(*legs).subquery("legs")
    return select(merged).order_by(*order(merged.c))


def _within(query: RunQuery, prefix: Position) -> Position | None:
    """The rest of the query's position when it lies in the phase."""
    if query.after is None or query.after[0].rank != prefix[0].rank:
        return None
    return query.after[1:]


def _visible(query: RunQuery) -> ColumnElement[bool]:
    return query.scope.visible(run.c.lifecycle_stage)


def _window_size(query: RunQuery) -> int:
    return max(MIN_WINDOW, WINDOW_PER_RESULT * query.limit)
