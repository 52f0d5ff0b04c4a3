"""Filters and orders of experiments as SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.search.compile_values import combine, compare_integer, compare_text, one_of
from runstream_common.search.keyset import SortKey, text_key
from runstream_common.search.syntax import (
    Clause,
    Comparison,
    Entity,
    Expression,
    Membership,
    NullCheck,
    Operator,
)
from sqlalchemy import BigInteger, Text, exists, not_

from runstream_metadata.store.tables import experiment, experiment_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.search.ordering import OrderTerm
    from sqlalchemy import ColumnElement

_COLUMNS = {
    "name": experiment.c.name,
    "experiment_id": experiment.c.experiment_id,
    "creation_time": experiment.c.creation_time_ms,
    "last_update_time": experiment.c.last_update_time_ms,
}


def experiment_predicate(expression: Expression) -> ColumnElement[bool]:
    """The filter over ``experiment``."""
    return combine(expression, _clause)


def experiment_keys(terms: Sequence[OrderTerm]) -> list[SortKey]:
    """The order's keys, with the id at the end; newest first when there is no order (MLflow)."""
    keys = [_key(term) for term in terms] or [SortKey(experiment.c.creation_time_ms, descending=True)]
    return [*keys, SortKey(experiment.c.experiment_id, descending=True)]


def _key(term: OrderTerm) -> SortKey:
    column = _COLUMNS[term.field.key]
    return SortKey(text_key(column) if isinstance(column.type, Text) else column, term.descending)


def _clause(clause: Clause) -> ColumnElement[bool]:
    if clause.field.entity is Entity.TAG:
        return _tag(clause)
    column = _COLUMNS[clause.field.key]
    if clause.field.key == "experiment_id":
        return _experiment_id(clause)
    if not isinstance(clause, Comparison):
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    if isinstance(clause.value, str):
        return compare_text(column, clause.operator, clause.value)
    return compare_integer(column, clause.operator, clause.value)


def _tag(clause: Clause) -> ColumnElement[bool]:
    tags = experiment_tag.alias()
    present = exists().where(
        tags.c.experiment_id == experiment.c.experiment_id, tags.c.key == clause.field.key
    )
    if isinstance(clause, NullCheck):
        found = present.correlate(experiment)
        return found if clause.negated else not_(found)
    if not isinstance(clause, Comparison):
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    compared = compare_text(tags.c.value, clause.operator, str(clause.value))
    return present.where(compared).correlate(experiment)


def _experiment_id(clause: Clause) -> ColumnElement[bool]:
    if isinstance(clause, Membership):
        values, negated = clause.values, clause.negated
    elif isinstance(clause, Comparison):
        values, negated = (str(clause.value),), clause.operator is Operator.NOT_EQUAL
    else:
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    member = one_of(experiment.c.experiment_id, [int(value) for value in values], BigInteger())
    return not_(member) if negated else member
