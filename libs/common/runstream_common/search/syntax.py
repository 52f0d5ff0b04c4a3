"""The tree of a filter, and its text.

The parser makes these after checking names, operators and values against a field table, so whoever reads a tree
may rely on it: an operator fits its field, and a value has the type that the field compares with.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, assert_never


class Entity(StrEnum):
    """What a field belongs to; the value is the word that texts use."""

    METRIC = "metrics"
    PARAM = "params"
    TAG = "tags"
    ATTRIBUTE = "attributes"
    DATASET = "datasets"


class Operator(StrEnum):
    """Operators between a field and one value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    LIKE = "LIKE"
    ILIKE = "ILIKE"


@dataclass(frozen=True, slots=True)
class Field:
    """A field by its canonical name: an alias never gets here."""

    entity: Entity
    key: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field operator value``; false when the field is missing."""

    field: Field
    operator: Operator
    value: str | float


@dataclass(frozen=True, slots=True)
class Membership:
    """``field [NOT] IN (values)``; false when the field is missing."""

    field: Field
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class NullCheck:
    """``field IS [NOT] NULL``."""

    field: Field
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """True when the operand is false; there is no third truth value."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class And:
    """True when all are; two or more."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True when one is; two or more."""

    operands: tuple[Expression, ...]


Clause: TypeAlias = Comparison | Membership | NullCheck
Expression: TypeAlias = Clause | Not | And | Or


def to_text(expression: Expression) -> str:
    """A text that parses to the same tree."""
    match expression:
        case Comparison():
            return f"{_name(expression.field)} {expression.operator} {_value(expression.value)}"
        case Membership():
            word = "NOT IN" if expression.negated else "IN"
            return f"{_name(expression.field)} {word} ({', '.join(map(_value, expression.values))})"
        case NullCheck():
            return f"{_name(expression.field)} {'IS NOT NULL' if expression.negated else 'IS NULL'}"
        case Not():
            return f"NOT ({to_text(expression.operand)})"
        case And() | Or():
            word = " AND " if isinstance(expression, And) else " OR "
            return word.join(_operand(operand) for operand in expression.operands)
        case _:
            assert_never(expression)


def _operand(expression: Expression) -> str:
    text = to_text(expression)
    return text if isinstance(expression, Clause) else f"({text})"


def _name(field: Field) -> str:
    return f"{field.entity}.`{field.key}`"


def _value(value: str | float) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
