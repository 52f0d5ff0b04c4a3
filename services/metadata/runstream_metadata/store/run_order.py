"""Orders of runs: from what a search names to sort keys over joined tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never
from uuid import UUID

from runstream_common.search.keyset import PRESENT, KeyShape, SortKey, text_key
from sqlalchemy import ColumnElement, Double, FromClause, Table, Text, and_, case, literal_column

from runstream_metadata.store.metric_tables import latest_metric
from runstream_metadata.store.tables import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runstream_metadata.store.search_scope import RunScope

NAN: ColumnElement[float] = literal_column("'NaN'::double precision", Double)
"""PostgreSQL's NaN: equal to itself and greater than every number."""

NAN_RANK = 1
"""NaN comes after the numbers in both directions (MLflow)."""

MISSING_RANK = 2
"""A missing key comes last in both directions (MLflow)."""


@dataclass(frozen=True, slots=True)
class MetricOrder:
    """By the latest value of a metric."""

    key: str
    descending: bool


@dataclass(frozen=True, slots=True)
class TextOrder:
    """By a value of ``run_param`` or ``run_tag``, as case-sensitive text."""

    table: Table
    key: str
    descending: bool


@dataclass(frozen=True, slots=True)
class AttributeOrder:
    """By something of the run itself.

    Args:
        name: the column, unless ``expression`` says more.
        expression: makes the key from the run's columns.
    """

    name: str
    descending: bool
    expression: Callable[[FromClause], ColumnElement[Any]] | None = None


RunOrder: TypeAlias = MetricOrder | TextOrder | AttributeOrder


def joined_keys(
    runs: FromClause, source: FromClause, order: Sequence[RunOrder], scope: RunScope
) -> tuple[FromClause, list[SortKey]]:
    """The source with what the order needs joined to it, and the order's keys with the ties' at the end.

    Args:
        runs: the columns of ``run`` in the source.
    """
    keys: list[SortKey] = []
    for term in order:
        match term:
            case MetricOrder() | TextOrder():
                source, key = _joined(runs, source, term, scope)
            case AttributeOrder():
                key = _attribute_key(runs, term)
            case _:
                assert_never(term)
        keys.append(key)
    return source, [*keys, *tie_keys(runs)]


def key_shapes(order: Sequence[RunOrder]) -> list[KeyShape]:
    """Shapes of the keys that ``joined_keys`` makes."""
    return [*(_key_shape(term) for term in order), KeyShape(int), KeyShape(UUID)]


def tie_keys(runs: FromClause) -> list[SortKey]:
    """The end of every order: newest first, then by run id (MLflow). No two runs are equal in it."""
    return [SortKey(runs.c.start_time_ms, descending=True), SortKey(runs.c.run_id)]


def _joined(
    runs: FromClause, source: FromClause, term: MetricOrder | TextOrder, scope: RunScope
) -> tuple[FromClause, SortKey]:
    table = latest_metric if isinstance(term, MetricOrder) else term.table
    values = table.alias()
    on = and_(
        values.c.run_id == runs.c.run_id,
        values.c.key == term.key,
        scope.experiments(values.c.experiment_id),
    )
    value = values.c.value
    missing = (value.is_(None), MISSING_RANK)
    if isinstance(term, MetricOrder):
        key = SortKey(value, term.descending, case(missing, (value == NAN, NAN_RANK), else_=PRESENT))
    else:
        key = SortKey(text_key(value), term.descending, case(missing, else_=PRESENT))
    return source.outerjoin(values, on), key


def _attribute_key(runs: FromClause, term: AttributeOrder) -> SortKey:
    column = runs.c[term.name]
    value = column if term.expression is None else term.expression(runs)
    if isinstance(value.type, Text):
        value = text_key(value)
    rank = case((column.is_(None), MISSING_RANK), else_=PRESENT) if run.c[term.name].nullable else None
    return SortKey(value, term.descending, rank)


def _key_shape(term: RunOrder) -> KeyShape:
    if isinstance(term, AttributeOrder):
        column = run.c[term.name]
        python_type = int if term.expression is not None else column.type.python_type
        return KeyShape(python_type, MISSING_RANK if column.nullable else PRESENT)
    return KeyShape(float if isinstance(term, MetricOrder) else str, MISSING_RANK)
