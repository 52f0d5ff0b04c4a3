"""Filters and orders of versions as SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.search.compile_values import combine, compare_integer, compare_text, one_of
from runstream_common.search.keyset import SortKey
from runstream_common.search.syntax import Comparison, Entity, Membership, Operator
from runstream_common.search.text_match import matches
from sqlalchemy import SmallInteger, Text, and_, bindparam, false, func, literal, not_, select, text

from runstream_registry.entities import Stage
from runstream_registry.search.compile_tags import tag_clause
from runstream_registry.store.tables import INDEXED_VALUE_LENGTH, model, version, version_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.search.ordering import OrderTerm
    from runstream_common.search.syntax import Clause, Expression
    from sqlalchemy import ColumnElement

_COLUMNS = {
    "name": model.c.name,
    "version_number": version.c.version,
    "run_id": version.c.run_id,
    "source_path": version.c.source,
    "user_id": version.c.user_id,
    "creation_timestamp": version.c.creation_time_ms,
    "last_updated_timestamp": version.c.last_updated_time_ms,
}
_NO_MODEL = -1


def version_predicate(expression: Expression) -> ColumnElement[bool]:
    """The filter over ``version`` joined with its ``model``."""
    return combine(expression, _clause)


def version_keys(terms: Sequence[OrderTerm]) -> list[SortKey]:
    """The order's keys; ties by name, then by version, highest first; latest updated first without an order (MLflow)."""
    keys = [SortKey(_COLUMNS[term.field.key], term.descending) for term in terms]
    if not keys:
        keys = [SortKey(version.c.last_updated_time_ms, descending=True)]
    named = {term.field.key for term in terms}
    ties = {"name": SortKey(model.c.name), "version_number": SortKey(version.c.version, descending=True)}
    return [*keys, *(key for name, key in ties.items() if name not in named)]


def _clause(clause: Clause) -> ColumnElement[bool]:
    key = clause.field.key
    if clause.field.entity is Entity.TAG:
        return tag_clause(clause, version, version_tag, "version_id")
    if isinstance(clause, Membership):
        member = one_of(_COLUMNS[key], clause.values, Text())
        return not_(member) if clause.negated else member
    if not isinstance(clause, Comparison):
        raise TypeError(f"the parser let {type(clause).__name__} pass for {clause.field}")
    if isinstance(clause.value, str):
        return _text_clause(key, clause.operator, clause.value)
    return compare_integer(_COLUMNS[key], clause.operator, clause.value)


def _text_clause(key: str, operator: Operator, value: str) -> ColumnElement[bool]:
    if key == "stage":
        return _stage(operator, value)
    if key == "name" and operator is Operator.EQUAL:
        return _of_model(value)
    condition = compare_text(_COLUMNS[key], operator, value)
    if key == "source_path" and operator is Operator.EQUAL:
        # What the index holds of the source.
        start = func.left(version.c.source, text(str(INDEXED_VALUE_LENGTH)))
        return and_(condition, compare_text(start, Operator.EQUAL, value[:INDEXED_VALUE_LENGTH]))
    return condition


def _of_model(name: str) -> ColumnElement[bool]:
    """The name by way of the model's id, which an index of versions begins with; equal to no id when there is none."""
    found = (
        select(model.c.model_id)
        .where(model.c.name == bindparam(None, name, Text()), model.c.deleted_time_ms.is_(None))
        .correlate(None)
        .scalar_subquery()
    )
    return version.c.model_id == func.coalesce(found, literal(_NO_MODEL))


def _stage(operator: Operator, value: str) -> ColumnElement[bool]:
    """Compares the names, which only the program knows: what is left for SQL is a set of numbers."""
    numbers = [stage.value for stage in Stage if matches(stage.label, operator, value)]
    return one_of(version.c.stage, numbers, SmallInteger()) if numbers else false()
