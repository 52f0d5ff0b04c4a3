"""Filters and orders of logged models as SQL. Clauses about metrics look at every point filed under the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from runstream_common.search.compile_values import (
    combine,
    compare_double,
    compare_integer,
    compare_text,
    one_of,
)
from runstream_common.search.syntax import (
    And,
    Clause,
    Comparison,
    Entity,
    Expression,
    Membership,
    Not,
    Operator,
    Or,
)
from runstream_common.search.text_match import matches
from sqlalchemy import SmallInteger, Text, and_, cast, exists, false, func, literal, not_, or_

from runstream_metadata.entities import LifecycleStage
from runstream_metadata.logged_model_entities import LoggedModelStatus
from runstream_metadata.store.logged_model_tables import (
    logged_model,
    logged_model_metric,
    logged_model_param,
    logged_model_tag,
)
from runstream_metadata.store.run_order import NAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Table

    from runstream_metadata.search.requests import DatasetScope

MODEL_ID = literal("m-") + func.replace(cast(logged_model.c.model_id, Text), "-", "")
"""The id as clients see it."""

_TEXT_COLUMNS: dict[str, ColumnElement[str]] = {
    "name": logged_model.c.name,
    "model_id": MODEL_ID,
    "model_type": logged_model.c.model_type,
    "source_run_id": logged_model.c.source_run_id,
    "artifact_location": logged_model.c.artifact_uri,
    "experiment_id": cast(logged_model.c.experiment_id, Text),
}
_TIME_COLUMNS = {
    "creation_timestamp": logged_model.c.creation_time_ms,
    "last_updated_timestamp": logged_model.c.last_update_time_ms,
}
_NUMBERED: dict[str, tuple[ColumnElement[int], dict[str, int]]] = {
    # MLflow compares the status with its number, as a text.
    "status": (logged_model.c.status, {str(status.value): status.value for status in LoggedModelStatus}),
    "lifecycle_stage": (
        logged_model.c.lifecycle_stage,
        {stage.name.lower(): stage.value for stage in LifecycleStage},
    ),
}
_KEYED_TABLES: dict[Entity, Table] = {Entity.PARAM: logged_model_param, Entity.TAG: logged_model_tag}


def logged_model_predicate(
    expression: Expression | None, datasets: Sequence[DatasetScope]
) -> ColumnElement[bool] | None:
    """The filter over ``logged_model``; None matches all.

    Args:
        datasets: what clauses about metrics are limited to; without such a clause, the model needs a point of one (MLflow).
    """
    if expression is not None:
        predicate = combine(expression, lambda clause: _clause(clause, datasets))
        if not datasets or _asks_for_metrics(expression):
            return predicate
        return and_(predicate, _with_point(_dataset_condition(datasets)))
    return _with_point(_dataset_condition(datasets)) if datasets else None


def _asks_for_metrics(expression: Expression) -> bool:
    match expression:
        case And() | Or():
            return any(map(_asks_for_metrics, expression.operands))
        case Not():
            return _asks_for_metrics(expression.operand)
        case _:
            return expression.field.entity is Entity.METRIC


def _clause(clause: Clause, datasets: Sequence[DatasetScope]) -> ColumnElement[bool]:
    entity = clause.field.entity
    match entity:
        case Entity.METRIC:
            return _metric(clause, datasets)
        case Entity.PARAM | Entity.TAG:
            return _keyed_text(_KEYED_TABLES[entity], clause)
        case Entity.ATTRIBUTE:
            return _attribute(clause)
        case Entity.DATASET:
            raise TypeError("the parser let a dataset pass")
        case _:
            assert_never(entity)


def _metric(clause: Clause, datasets: Sequence[DatasetScope]) -> ColumnElement[bool]:
    if not isinstance(clause, Comparison):
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    column = logged_model_metric.c.value
    conditions = [
        logged_model_metric.c.key == clause.field.key,
        compare_double(column, clause.operator, float(clause.value)),
    ]
    if clause.operator in {Operator.GREATER, Operator.GREATER_OR_EQUAL}:
        # To PostgreSQL NaN is greater than every number.
        conditions.append(column < NAN)
    if datasets:
        conditions.append(_dataset_condition(datasets))
    return _with_point(*conditions)


def _with_point(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return (
        exists()
        .where(logged_model_metric.c.model_id == logged_model.c.model_id, *conditions)
        .correlate(logged_model)
    )


def _dataset_condition(datasets: Sequence[DatasetScope]) -> ColumnElement[bool]:
    columns = logged_model_metric.c
    return or_(
        *(
            and_(columns.dataset_name == scope.name, columns.dataset_digest == scope.digest)
            if scope.digest
            else columns.dataset_name == scope.name
            for scope in datasets
        )
    )


def _keyed_text(table: Table, clause: Clause) -> ColumnElement[bool]:
    values = table.alias()
    return (
        exists()
        .where(
            values.c.model_id == logged_model.c.model_id,
            values.c.key == clause.field.key,
            _text_clause(values.c.value, clause),
        )
        .correlate(logged_model)
    )


def _attribute(clause: Clause) -> ColumnElement[bool]:
    key = clause.field.key
    if key in _TEXT_COLUMNS:
        return _text_clause(_TEXT_COLUMNS[key], clause)
    if key in _NUMBERED:
        column, numbers = _NUMBERED[key]
        matching = [number for text, number in numbers.items() if _holds(text, clause)]
        return one_of(column, matching, SmallInteger()) if matching else false()
    if not isinstance(clause, Comparison):
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    return compare_integer(_TIME_COLUMNS[key], clause.operator, float(clause.value))


def _text_clause(column: ColumnElement[str], clause: Clause) -> ColumnElement[bool]:
    match clause:
        case Membership():
            member = one_of(column, clause.values, Text())
            return not_(member) if clause.negated else member
        case Comparison():
            return compare_text(column, clause.operator, str(clause.value))
        case _:
            raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")


def _holds(text: str, clause: Clause) -> bool:
    match clause:
        case Membership():
            return (text in clause.values) is not clause.negated
        case Comparison():
            return matches(text, clause.operator, str(clause.value))
        case _:
            raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
