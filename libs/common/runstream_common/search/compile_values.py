"""Comparisons of a column with a value, as SQL with bound parameters."""

from __future__ import annotations

import math
import operator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    Double,
    Numeric,
    Text,
    and_,
    any_,
    bindparam,
    false,
    not_,
    or_,
)

from runstream_common.search.syntax import And, Clause, Expression, Not, Operator, Or

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.types import TypeEngine

_FUNCTIONS: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
}

_INT64 = range(-(2**63), 2**63)


def combine(expression: Expression, clause: Callable[[Clause], ColumnElement[bool]]) -> ColumnElement[bool]:
    """The whole tree, given how one clause is compiled. Clauses are never NULL, so neither is any part."""
    match expression:
        case And():
            return and_(*(combine(operand, clause) for operand in expression.operands))
        case Or():
            return or_(*(combine(operand, clause) for operand in expression.operands))
        case Not():
            return not_(combine(expression.operand, clause))
        case _:
            return clause(expression)


def compare_text(column: ColumnElement[str], symbol: Operator, value: str) -> ColumnElement[bool]:
    """A comparison with a text; LIKE regards case and ILIKE does not."""
    match symbol:
        case Operator.LIKE:
            return column.like(bindparam(None, like_pattern(value), Text()))
        case Operator.ILIKE:
            return column.ilike(bindparam(None, like_pattern(value), Text()))
        case _:
            result: ColumnElement[bool] = _FUNCTIONS[symbol](column, bindparam(None, value, Text()))
            return result


def compare_double(column: ColumnElement[float], symbol: Operator, value: float) -> ColumnElement[bool]:
    """A comparison of doubles as PostgreSQL makes it: NaN is greater than every number."""
    result: ColumnElement[bool] = _FUNCTIONS[symbol](column, bindparam(None, float(value), Double()))
    return result


def compare_integer(column: ColumnElement[int], symbol: Operator, value: float) -> ColumnElement[bool]:
    """An exact comparison of a 64-bit integer with any number but NaN; NULL compares as NULL."""
    if math.isinf(value):
        # Every integer stands where this one does.
        held = _FUNCTIONS[symbol](0, value)
        return column.is_not(None) if held else false()
    whole = int(value)
    if whole == value and whole in _INT64:
        bound: BindParameter[Any] = bindparam(None, whole, BigInteger())
    else:
        bound = bindparam(None, Decimal(value), Numeric())
    result: ColumnElement[bool] = _FUNCTIONS[symbol](column, bound)
    return result


def one_of(
    column: ColumnElement[Any], values: Sequence[Any], value_type: TypeEngine[Any]
) -> ColumnElement[bool]:
    """Whether the column has one of the values: one bound parameter, whatever their number."""
    if len(values) == 1:
        return column == bindparam(None, values[0], value_type)
    return column == any_(bindparam(None, list(values), ARRAY(value_type)))


def like_pattern(pattern: str) -> str:
    r"""The pattern as PostgreSQL takes it: ``\%``, ``\_`` and ``\\`` are escapes, other backslashes are plain."""
    parts: list[str] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        if character == "\\":
            escaped = pattern[index + 1 : index + 2]
            if escaped and escaped in "%_\\":
                parts.append(character + escaped)
                index += 2
                continue
            parts.append("\\\\")
        else:
            parts.append(character)
        index += 1
    return "".join(parts)
