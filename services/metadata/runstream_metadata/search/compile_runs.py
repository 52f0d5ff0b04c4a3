"""Filters and orders of runs as SQL. Every subquery stays in the search's experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never
from uuid import UUID

from runstream_common.search.compile_values import (
    combine,
    compare_double,
    compare_integer,
    compare_text,
    one_of,
)
from runstream_common.search.syntax import (
    Clause,
    Comparison,
    Entity,
    Expression,
    Membership,
    NullCheck,
    Operator,
)
from runstream_common.search.text_match import matches
from runstream_contract.names import is_run_id
from sqlalchemy import SmallInteger, String, Text, Uuid, and_, case, cast, exists, false, func, not_, text

from runstream_metadata.entities import RunStatus
from runstream_metadata.search.fields import DATASET_CONTEXT_TAG
from runstream_metadata.store.metric_tables import latest_metric
from runstream_metadata.store.run_order import NAN, AttributeOrder, MetricOrder, RunOrder, TextOrder
from runstream_metadata.store.tables import INDEXED_VALUE_LENGTH, dataset, run_input, run_param, run_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.search.ordering import OrderTerm
    from sqlalchemy import ColumnElement, FromClause, Table

    from runstream_metadata.store.run_query import Predicate
    from runstream_metadata.store.search_scope import RunScope

_COLUMNS = {
    "run_id": "run_id",
    "run_name": "name",
    "user_id": "user_id",
    "status": "status",
    "artifact_uri": "artifact_uri",
    "start_time": "start_time_ms",
    "end_time": "end_time_ms",
}
_KEYED_TABLES: dict[Entity, Table] = {Entity.PARAM: run_param, Entity.TAG: run_tag}
_STATUS_ORDER = {status.value: place for place, status in enumerate(sorted(RunStatus, key=lambda s: s.name))}


def run_predicate(expression: Expression, scope: RunScope) -> Predicate:
    """The filter, for any source that has the columns of ``run``."""

    def over(runs: FromClause) -> ColumnElement[bool]:
        compiler = _RunFilter(runs, scope)
        return combine(expression, compiler.clause)

    return over


def run_order(terms: Sequence[OrderTerm]) -> tuple[RunOrder, ...]:
    """The order in the store's terms."""
    return tuple(_order(term) for term in terms)


def _order(term: OrderTerm) -> RunOrder:
    entity, key = term.field.entity, term.field.key
    if entity is Entity.METRIC:
        return MetricOrder(key, term.descending)
    if entity in _KEYED_TABLES:
        return TextOrder(_KEYED_TABLES[entity], key, term.descending)
    return AttributeOrder(_COLUMNS[key], term.descending, _status_place if key == "status" else None)


def _status_place(runs: FromClause) -> ColumnElement[int]:
    """The place of a status in the order of the names, which is how MLflow sorts it."""
    return case(_STATUS_ORDER, value=runs.c.status, else_=len(_STATUS_ORDER))


class _RunFilter:
    """Compiles clauses. A clause about a missing key is false, also with ``!=``, and none is ever NULL."""

    def __init__(self, runs: FromClause, scope: RunScope) -> None:
        self._runs = runs
        self._scope = scope

    def clause(self, clause: Clause) -> ColumnElement[bool]:
        entity = clause.field.entity
        match entity:
            case Entity.METRIC:
                return self._metric(clause)
            case Entity.PARAM | Entity.TAG:
                return self._keyed_text(_KEYED_TABLES[entity], clause)
            case Entity.DATASET:
                return self._dataset(clause)
            case Entity.ATTRIBUTE:
                return self._attribute(clause)
            case _:
                assert_never(entity)

    def _metric(self, clause: Clause) -> ColumnElement[bool]:
        comparison = _comparison(clause)
        values = latest_metric.alias()
        column = values.c.value
        condition = compare_double(column, comparison.operator, float(comparison.value))
        if comparison.operator in {Operator.GREATER, Operator.GREATER_OR_EQUAL}:
            # Every comparison with NaN is false except "!="; to PostgreSQL it is greater than every number.
            condition = and_(condition, column < NAN)
        return self._with_key(values, clause.field.key, condition)

    def _keyed_text(self, table: Table, clause: Clause) -> ColumnElement[bool]:
        values = table.alias()
        if isinstance(clause, NullCheck):
            present = self._with_key(values, clause.field.key)
            return present if clause.negated else not_(present)
        comparison = _comparison(clause)
        value = str(comparison.value)
        conditions = [compare_text(values.c.value, comparison.operator, value)]
        if comparison.operator is Operator.EQUAL:
            # What the index holds of the value.
            start = func.left(values.c.value, text(str(INDEXED_VALUE_LENGTH)))
            conditions.append(compare_text(start, Operator.EQUAL, value[:INDEXED_VALUE_LENGTH]))
        return self._with_key(values, clause.field.key, *conditions)

    def _with_key(
        self, values: FromClause, key: str, *conditions: ColumnElement[bool]
    ) -> ColumnElement[bool]:
        return (
            exists()
            .where(
                values.c.run_id == self._runs.c.run_id,
                values.c.key == key,
                self._scope.experiments(values.c.experiment_id),
                *conditions,
            )
            .correlate(self._runs)
        )

    def _dataset(self, clause: Clause) -> ColumnElement[bool]:
        links, datasets = run_input.alias(), dataset.alias()
        if clause.field.key == "context":
            column: ColumnElement[str] = links.c.tags[DATASET_CONTEXT_TAG].astext
        else:
            column = datasets.c[clause.field.key]
        return (
            exists()
            .where(
                links.c.run_id == self._runs.c.run_id,
                datasets.c.dataset_id == links.c.dataset_id,
                self._scope.experiments(datasets.c.experiment_id),
                _text_clause(column, clause),
            )
            .correlate(self._runs)
        )

    def _attribute(self, clause: Clause) -> ColumnElement[bool]:
        key = clause.field.key
        column = self._runs.c[_COLUMNS[key]]
        if key == "run_id":
            return _run_id(column, clause)
        comparison = _comparison(clause)
        if key == "status":
            return _status(column, comparison)
        if isinstance(comparison.value, str):
            return compare_text(column, comparison.operator, comparison.value)
        condition = compare_integer(column, comparison.operator, comparison.value)
        # NOT makes true of false, but not of NULL.
        return and_(column.is_not(None), condition) if key == "end_time" else condition


def _comparison(clause: Clause) -> Comparison:
    if not isinstance(clause, Comparison):
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    return clause


def _text_clause(column: ColumnElement[str], clause: Clause) -> ColumnElement[bool]:
    if isinstance(clause, Membership):
        member = one_of(column, clause.values, Text())
        return not_(member) if clause.negated else member
    comparison = _comparison(clause)
    return compare_text(column, comparison.operator, str(comparison.value))


def _run_id(column: ColumnElement[UUID], clause: Clause) -> ColumnElement[bool]:
    if isinstance(clause, Membership):
        return _negated_if(_any_run_id(column, clause.values), clause.negated)
    comparison = _comparison(clause)
    value = str(comparison.value)
    if comparison.operator in {Operator.EQUAL, Operator.NOT_EQUAL}:
        return _negated_if(_any_run_id(column, (value,)), comparison.operator is Operator.NOT_EQUAL)
    return compare_text(func.replace(cast(column, String), "-", ""), comparison.operator, value)


def _any_run_id(column: ColumnElement[UUID], values: Sequence[str]) -> ColumnElement[bool]:
    # A text that is no run id equals none.
    ids = [UUID(hex=value) for value in values if is_run_id(value)]
    return one_of(column, ids, Uuid()) if ids else false()


def _status(column: ColumnElement[int], comparison: Comparison) -> ColumnElement[bool]:
    """Compares the names, which only the program knows: what is left for SQL is a set of numbers."""
    value = str(comparison.value)
    numbers = [status.value for status in RunStatus if matches(status.name, comparison.operator, value)]
    return one_of(column, numbers, SmallInteger()) if numbers else false()


def _negated_if(condition: ColumnElement[bool], negated: bool) -> ColumnElement[bool]:
    return not_(condition) if negated else condition
