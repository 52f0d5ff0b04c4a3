"""Filters and orders of models as SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.search.compile_values import combine, compare_integer, compare_text, one_of
from runstream_common.search.keyset import SortKey
from runstream_common.search.syntax import Comparison, Entity, Membership
from sqlalchemy import Text, not_

from runstream_registry.search.compile_tags import tag_clause
from runstream_registry.store.tables import model, model_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.search.ordering import OrderTerm
    from runstream_common.search.syntax import Clause, Expression
    from sqlalchemy import ColumnElement

_COLUMNS = {
    "name": model.c.name,
    "creation_timestamp": model.c.creation_time_ms,
    "last_updated_timestamp": model.c.last_updated_time_ms,
}


def model_predicate(expression: Expression) -> ColumnElement[bool]:
    """The filter over ``model``."""
    return combine(expression, _clause)


def model_keys(terms: Sequence[OrderTerm]) -> list[SortKey]:
    """The order's keys; ties, and everything without an order, by name (MLflow)."""
    keys = [SortKey(_COLUMNS[term.field.key], term.descending) for term in terms]
    by_name = any(term.field.key == "name" for term in terms)
    return keys if by_name else [*keys, SortKey(model.c.name)]


def _clause(clause: Clause) -> ColumnElement[bool]:
    if clause.field.entity is Entity.TAG:
        return tag_clause(clause, model, model_tag, "model_id")
    column = _COLUMNS[clause.field.key]
    if isinstance(clause, Membership):
        member = one_of(column, clause.values, Text())
        return not_(member) if clause.negated else member
    if not isinstance(clause, Comparison):
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    if isinstance(clause.value, str):
        return compare_text(column, clause.operator, clause.value)
    return compare_integer(column, clause.operator, clause.value)
