"""Parses order_by: items of ``field [ASC|DESC]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_common.search.lexer import TokenKind, problem, tokens
from runstream_common.search.parser import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.search.fields import FieldTable
    from runstream_common.search.lexer import Token
    from runstream_common.search.syntax import Field

MAX_ORDER_TERMS = 10
"""Items of one order_by: each may cost a join."""

_DIRECTIONS = {"ASC": False, "DESC": True}


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One item."""

    field: Field
    descending: bool


def parse_order_by(
    items: Sequence[str], fields: FieldTable, *, mlflow_strict: bool = False
) -> tuple[OrderTerm, ...]:
    """The items, in order.

    Args:
        mlflow_strict: take the keys that MLflow takes.

    Raises:
        InvalidOrderBy: an item is no field with an optional direction, cannot be ordered by, or comes twice.
    """
    if len(items) > MAX_ORDER_TERMS:
        raise InvalidArgument.of(
            "order_by",
            f"has {len(items)} items, at most {MAX_ORDER_TERMS} are allowed",
            reason="INVALID_ORDER_BY",
        )
    terms: list[OrderTerm] = []
    for index, item in enumerate(items):
        origin = f"order_by[{index}]"
        term = _term(tokens(item, origin, mlflow_strict=mlflow_strict), fields, origin)
        if any(earlier.field == term.field for earlier in terms):
            raise problem(origin, 0, f"{term.field.entity}.{term.field.key} comes twice")
        terms.append(term)
    return tuple(terms)


def _term(found: Sequence[Token], fields: FieldTable, origin: str) -> OrderTerm:
    name, rest = found[0], found[1:-1]
    field, rule = resolve(name, fields, origin)
    if not rule.orderable:
        raise problem(origin, name.position, f"{field.entity}.{field.key} cannot be ordered by")
    direction = rest[0] if rest else None
    if direction is None:
        return OrderTerm(field, descending=False)
    if direction.kind is not TokenKind.WORD or direction.text.upper() not in _DIRECTIONS:
        raise problem(origin, direction.position, f"expected ASC or DESC, found {direction}")
    if len(rest) > 1:
        raise problem(origin, rest[1].position, f"expected {found[-1]}, found {rest[1]}")
    return OrderTerm(field, _DIRECTIONS[direction.text.upper()])
