"""Parses filters: MLflow's grammar with OR, NOT and parentheses. NOT binds closest, then AND, then OR.

filter     = [ or [ "AND" ] ]                      a trailing AND is accepted, as in MLflow
or         = and { "OR" and }
and        = unary { "AND" unary }
unary      = "NOT" unary | "(" or ")" | clause
clause     = field operator value
           | field [ "NOT" ] "IN" "(" value { "," value } [ "," ] ")"
           | field "IS" [ "NOT" ] "NULL"

In MLflow's own grammar clauses stand one after the other, and ANDs between, before and behind them are passed over:

filter     = { "AND" } { clause { "AND" } }
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from typing import TYPE_CHECKING

from runstream_common.search.fields import FieldRule, FieldTable, ValueKind
from runstream_common.search.lexer import Token, TokenKind, problem, tokens
from runstream_common.search.syntax import (
    And,
    Comparison,
    Expression,
    Field,
    Membership,
    Not,
    NullCheck,
    Operator,
    Or,
)

if TYPE_CHECKING:
    from runstream_common.search.problems import InvalidFilter

MAX_DEPTH = 32
"""Parentheses and NOTs inside each other."""

MAX_CLAUSES = 200
"""Clauses of one filter: each may cost a look-up a run."""

MAX_LIST_LENGTH = 1_000
"""Values of one IN."""

_INT64_MAX = 2**63 - 1
_FIELD_KINDS = {TokenKind.NAME, TokenKind.WORD, TokenKind.DOUBLE_QUOTED}
_TEXT_KINDS = {TokenKind.SINGLE_QUOTED, TokenKind.DOUBLE_QUOTED}
_KEYWORDS = {"AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "ILIKE"}


def parse_filter(text: str, fields: FieldTable, *, mlflow_strict: bool = False) -> Expression | None:
    """The tree of a filter; None for the empty text, which matches everything.

    Args:
        text: see the module's grammar.
        fields: what the searched objects have.
        mlflow_strict: refuse OR, NOT before a clause, and parentheses around clauses; read values and patterns as MLflow's
            parser and its store on SQLite do: in a list as Python's texts, and with backslashes that escape nothing.

    Raises:
        InvalidFilter: the text breaks the grammar or a limit, or a field cannot be asked that.
    """
    if not text:
        return None
    if not text.strip():
        raise problem("filter", 0, "is blank; leave it empty to match everything")
    return _Parser(tokens(text, "filter", mlflow_strict=mlflow_strict), fields, mlflow_strict).parse()


def resolve(token: Token, fields: FieldTable, origin: str) -> tuple[Field, FieldRule]:
    """The field that a token names.

    Raises:
        InvalidFilter: it names none.
    """
    if token.kind not in _FIELD_KINDS or (token.kind is TokenKind.WORD and token.text.upper() in _KEYWORDS):
        raise problem(origin, token.position, f"expected a field such as {fields.example}, found {token}")
    found = fields.find(token.entity, token.text)
    if isinstance(found, str):
        raise problem(origin, token.position, found)
    return found


class _Parser:
    def __init__(self, found: list[Token], fields: FieldTable, mlflow_strict: bool) -> None:
        self._tokens = found
        self._next = 0
        self._fields = fields
        self._strict = mlflow_strict
        self._depth = 0
        self._clauses = 0

    def parse(self) -> Expression | None:
        if self._strict:
            return self._clauses_of_mlflow()
        expression = self._or()
        if self._peek.kind is not TokenKind.END:
            raise self._problem(self._peek, f"expected AND, OR or the end, found {self._peek}")
        return expression

    def _clauses_of_mlflow(self) -> Expression | None:
        found: list[Expression] = []
        while self._peek.kind is not TokenKind.END:
            if self._take_word("AND"):
                continue
            if self._peek.is_word("OR"):
                raise self._unsupported("OR")
            found.append(self._unary())
        if not found:
            return None
        return found[0] if len(found) == 1 else And(tuple(found))

    def _or(self) -> Expression:
        operands = [self._and()]
        while self._peek.is_word("OR"):
            self._take()
            operands.append(self._and())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _and(self) -> Expression:
        operands = [self._unary()]
        while self._peek.is_word("AND"):
            self._take()
            if self._peek.kind is TokenKind.END and self._depth == 0:
                break
            operands.append(self._unary())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _unary(self) -> Expression:
        token = self._peek
        if token.is_word("NOT"):
            if self._strict:
                raise self._unsupported("NOT")
            self._enter()
            operand: Expression = Not(self._unary())
        elif token.kind is TokenKind.OPEN:
            if self._strict:
                raise self._unsupported("parentheses")
            self._enter()
            operand = self._or()
            self._expect(TokenKind.CLOSE)
        else:
            return self._clause()
        self._depth -= 1
        return operand

    def _enter(self) -> None:
        token = self._take()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._problem(token, f"more than {MAX_DEPTH} parentheses and NOTs inside each other")

    def _clause(self) -> Expression:
        token = self._take()
        field, rule = resolve(token, self._fields, "filter")
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            raise self._problem(token, f"more than {MAX_CLAUSES} clauses")
        follower = self._peek
        if follower.is_word("IS"):
            return self._null_check(field, rule)
        if follower.is_word("IN") or follower.is_word("NOT"):
            return self._membership(field, rule)
        operator = self._operator(field, rule)
        value = self._value(rule)
        if self._strict and operator in _PATTERN_OPERATORS and isinstance(value, str):
            value = value.replace("\\", "\\\\")
        return Comparison(field, operator, value)

    def _null_check(self, field: Field, rule: FieldRule) -> NullCheck:
        token = self._take()
        if not rule.null_check:
            raise self._problem(token, f"IS NULL cannot be asked of {field.entity}.{field.key}")
        negated = self._take_word("NOT")
        if not self._take_word("NULL"):
            raise self._problem(self._peek, f"expected NULL, found {self._peek}")
        return NullCheck(field, negated)

    def _membership(self, field: Field, rule: FieldRule) -> Membership:
        token = self._peek
        negated = self._take_word("NOT")
        if not self._take_word("IN"):
            raise self._problem(self._peek, f"expected IN after NOT, found {self._peek}")
        if not rule.in_list:
            raise self._problem(token, f"IN cannot be asked of {field.entity}.{field.key}")
        self._expect(TokenKind.OPEN)
        values = [self._listed_text(rule)]
        while self._at(TokenKind.COMMA):
            self._take()
            if self._at(TokenKind.CLOSE):
                break
            values.append(self._listed_text(rule))
        self._expect(TokenKind.CLOSE)
        if len(values) > MAX_LIST_LENGTH:
            raise self._problem(token, f"IN has {len(values)} values, at most {MAX_LIST_LENGTH} are allowed")
        return Membership(field, tuple(values), negated)

    def _operator(self, field: Field, rule: FieldRule) -> Operator:
        token = self._take()
        allowed = ", ".join(sorted(rule.operators))
        try:
            operator = Operator(token.text.upper()) if token.kind in _OPERATOR_KINDS else None
        except ValueError:
            operator = None
        if operator is None:
            raise self._problem(token, f"expected one of {allowed}, found {token}")
        if operator not in rule.operators:
            raise self._problem(
                token, f"{operator} cannot be asked of {field.entity}.{field.key}, only {allowed}"
            )
        return operator

    def _value(self, rule: FieldRule) -> str | float:
        if rule.kind is not ValueKind.NUMBER:
            return self._text(rule)
        if rule.quoted_too and self._peek.kind in _TEXT_KINDS and _is_integer(self._peek.text):
            return int(self._take().text)
        return self._number()

    def _number(self) -> float:
        token = self._expect(TokenKind.NUMBER, ValueKind.NUMBER.value)
        number = float(token.text)
        if math.isinf(number) and not self._strict:
            raise self._problem(token, "the number is too large")
        # Times in milliseconds are compared exactly.
        return int(token.text) if token.text.lstrip("-").isdecimal() else number

    def _text(self, rule: FieldRule) -> str:
        token = self._take()
        if token.kind not in _TEXT_KINDS:
            raise self._problem(token, f"expected {rule.kind.value}, found {token}")
        if rule.kind is ValueKind.QUOTED_INTEGER and not _is_integer(token.text):
            raise self._problem(token, f"expected a decimal number in quotes, found {token}")
        return token.text

    def _listed_text(self, rule: FieldRule) -> str:
        token = self._peek
        text = self._text(rule)
        if not self._strict or not _MAY_BE_ESCAPED.search(text):
            return text
        quote = "'" if token.kind is TokenKind.SINGLE_QUOTED else '"'
        try:
            with warnings.catch_warnings():
                # An escape that Python does not know stands for itself.
                warnings.simplefilter("ignore")
                return str(ast.literal_eval(f"{quote}{text}{quote}"))
        except (SyntaxError, ValueError) as error:
            raise self._problem(token, f"cannot be read as a text: {error}") from error

    def _unsupported(self, what: str) -> InvalidFilter:
        return self._problem(self._peek, f"Invalid clause(s) in filter string: {what} is not supported")

    @property
    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _at(self, kind: TokenKind) -> bool:
        return self._peek.kind is kind

    def _take(self) -> Token:
        token = self._tokens[self._next]
        if token.kind is not TokenKind.END:
            self._next += 1
        return token

    def _take_word(self, word: str) -> bool:
        found = self._peek.is_word(word)
        if found:
            self._take()
        return found

    def _expect(self, kind: TokenKind, name: str = "") -> Token:
        token = self._take()
        if token.kind is not kind:
            raise self._problem(token, f"expected {name or kind.value}, found {token}")
        return token

    def _problem(self, token: Token, description: str) -> InvalidFilter:
        return problem("filter", token.position, description)


_OPERATOR_KINDS = {TokenKind.OPERATOR, TokenKind.WORD}
_PATTERN_OPERATORS = {Operator.LIKE, Operator.ILIKE}
_MAY_BE_ESCAPED = re.compile(r"[\\'\"\n\r]")


def _is_integer(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= _INT64_MAX
