"""Conditions on metrics: ``key operator bound``, such as ``accuracy >= 0.9`` or ``loss < current * 1.05``.

    condition := key operator sum
    key       := word | `anything` | "anything"      a word has no blanks, quotes, "<", ">", "=" or "!"
    operator  := ">=" | "<=" | ">" | "<" | "=" | "==" | "!="
    sum       := product (("+" | "-") product)*
    product   := signed ("*" signed)*
    signed    := "-" signed | number | "current" | "(" sum ")"

Numbers are decimal, not binary: with 0.93 in place, 0.94 meets ``accuracy >= current + 0.01``, although the sum of
the binary numbers is greater than 0.94.
"""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LENGTH: Final = 500
MAX_DEPTH: Final = 30
"""Brackets and signs inside each other; more would be a mistake, and the parser's stack is not endless."""

_HEAD = re.compile(
    r"""\s*(?:`(?P<ticked>[^`]+)`|"(?P<quoted>[^"]+)"|(?P<word>[^\s<>=!`"]+))\s*(?P<operator>>=|<=|!=|==|=|>|<)"""
)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*()]))"
)

# No traps: what has no value (infinity minus infinity) becomes NaN, and NaN meets no condition.
_ARITHMETIC: Final = Context(prec=60, traps=[])

_COMPARISONS: Final[dict[str, Callable[[Decimal, Decimal], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "!=": operator.ne,
}


class ConditionError(ValueError):
    """A condition that cannot be read; the text says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written."""

    value: Decimal


@dataclass(frozen=True, slots=True)
class Current:
    """The metric of the version that the target holds now."""


@dataclass(frozen=True, slots=True)
class Negated:
    """A value with a minus before it."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Two values with "+", "-" or "*" between them."""

    sign: str
    left: Expression
    right: Expression


Expression: TypeAlias = Number | Current | Negated | Binary


@dataclass(frozen=True, slots=True)
class MetricCondition:
    """A condition that was read.

    Args:
        text: as it was written, without blanks around it.
        key: of the metric.
        comparison: ">=", "<=", ">", "<", "=" or "!=".
        bound: what the metric is compared with.
    """

    text: str
    key: str
    comparison: str
    bound: Expression

    @property
    def relative(self) -> bool:
        """Whether the bound depends on the version that the target holds now."""
        return _mentions_current(self.bound)

    def bound_value(self, current: float | None) -> Decimal:
        """The bound as a number; NaN when it has none.

        Args:
            current: metric of the version that the target holds now; needed by relative conditions.
        """
        return _value(self.bound, Decimal("NaN") if current is None else _decimal(current))

    def holds(self, value: float, current: float | None = None) -> bool:
        """Whether a metric meets the condition. NaN, on either side, never does.

        Args:
            value: of the metric.
            current: see ``bound_value``.
        """
        bound = self.bound_value(current)
        if math.isnan(value) or bound.is_nan():
            return False
        return _COMPARISONS[self.comparison](_decimal(value), bound)


def parse_condition(text: str) -> MetricCondition:
    """Read a condition.

    Args:
        text: at most MAX_LENGTH characters.

    Raises:
        ConditionError: it does not follow the grammar.
    """
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"has {len(text)} characters, at most {MAX_LENGTH} are allowed")
    head = _HEAD.match(text)
    if head is None:
        raise ConditionError('must be "key operator bound", e.g. "accuracy >= 0.9"')
    key = head["ticked"] or head["quoted"] or head["word"]
    bound = _Parser(text, head.end()).parse()
    return MetricCondition(text.strip(), key, head["operator"].replace("==", "="), bound)


class _Parser:
    """Recursive descent over the bound, from ``position`` to the end of the text."""

    def __init__(self, text: str, position: int) -> None:
        self._text = text
        self._position = position
        self._depth = 0
        self._token = self._read()

    def parse(self) -> Expression:
        expression = self._sum()
        if self._token is not None:
            raise self._unexpected()
        return expression

    def _sum(self) -> Expression:
        left = self._product()
        while self._sign() in {"+", "-"}:
            sign = self._take()
            left = Binary(sign, left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._signed()
        while self._sign() == "*":
            left = Binary(self._take(), left, self._signed())
        return left

    def _signed(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConditionError(f"has more than {MAX_DEPTH} brackets or signs inside each other")
        try:
            return self._operand()
        finally:
            self._depth -= 1

    def _operand(self) -> Expression:
        if self._sign() == "-":
            self._take()
            return Negated(self._signed())
        if self._sign() == "(":
            self._take()
            inner = self._sum()
            if self._sign() != ")":
                raise self._unexpected()
            self._take()
            return inner
        token = self._token
        if token is not None and token["name"] == "current":
            self._take()
            return Current()
        if token is not None and token["number"]:
            return Number(_finite(self._take()))
        raise self._unexpected()

    def _sign(self) -> str | None:
        return self._token["sign"] if self._token is not None else None

    def _take(self) -> str:
        taken = self._token
        if taken is None:
            raise self._unexpected()
        self._token = self._read()
        return taken[0].strip()

    def _read(self) -> re.Match[str] | None:
        if not self._text[self._position :].strip():
            return None
        token = _TOKEN.match(self._text, self._position)
        if token is None:
            raise ConditionError(f"has something unknown at {self._text[self._position :].strip()[:20]!r}")
        self._position = token.end()
        return token

    def _unexpected(self) -> ConditionError:
        wanted = 'numbers, "current", "+", "-", "*" and brackets may follow the operator'
        if self._token is None:
            return ConditionError(f"ends too early; {wanted}")
        return ConditionError(f"does not go on with {self._token[0].strip()!r}; {wanted}")


def _finite(text: str) -> Decimal:
    if not math.isfinite(float(text)):
        raise ConditionError(f"has a number that is too large: {text[:20]}")
    return Decimal(text)


def _decimal(value: float) -> Decimal:
    # The shortest text that means this double: what a person wrote and what the SDK shows.
    return Decimal(repr(value))


def _mentions_current(expression: Expression) -> bool:
    if isinstance(expression, Binary):
        return _mentions_current(expression.left) or _mentions_current(expression.right)
    if isinstance(expression, Negated):
        return _mentions_current(expression.operand)
    return isinstance(expression, Current)


def _value(expression: Expression, current: Decimal) -> Decimal:
    if isinstance(expression, Number):
        return expression.value
    if isinstance(expression, Current):
        return current
    if isinstance(expression, Negated):
        return _ARITHMETIC.minus(_value(expression.operand, current))
    left, right = _value(expression.left, current), _value(expression.right, current)
    if expression.sign == "+":
        return _ARITHMETIC.add(left, right)
    if expression.sign == "-":
        return _ARITHMETIC.subtract(left, right)
    return _ARITHMETIC.multiply(left, right)
