"""Filters of logged models, read as MLflow reads them and written again for the service.

MLflow has a parser of its own for these (mlflow.utils.search_logged_model_utils, release 3.17), which needs its SQL store;
it takes values without quotes, and keeps double quotes as part of a value. What it answers 500 to is refused here.
"""

from __future__ import annotations

import ast
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlparse
from mlflow.utils.search_utils import _join_in_comparison_tokens
from sqlparse.sql import Comparison

from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.mlflow_api.search_filters import check_filter_length

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

_REMEMBERED = 1_024
_ENTITIES = ["attributes", "metrics", "params", "tags"]
_DOTTED = re.compile(r"([a-z]+)\.(.+)", re.DOTALL)
_TIMES = {
    "creation_time": "creation_timestamp",
    "creation_timestamp": "creation_timestamp",
    "creation_timestamp_ms": "creation_timestamp",
    "last_updated_timestamp": "last_updated_timestamp",
    "last_updated_timestamp_ms": "last_updated_timestamp",
}
_MLFLOWS_TIMES = {
    "creation_timestamp": "creation_timestamp_ms",
    "last_updated_timestamp": "last_updated_timestamp_ms",
}
_NUMERIC = ("<", "<=", ">", ">=", "=", "!=")
_TEXTUAL = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
_PARTS = 3


class Field(NamedTuple):
    """What a clause asks about."""

    entity: str
    key: str

    @property
    def numeric(self) -> bool:
        """Whether it is compared with numbers."""
        return self.entity == "metrics" or (self.entity == "attributes" and self.key in _TIMES)

    def __str__(self) -> str:
        """As MLflow's messages write it."""
        return f"{self.entity}.{_MLFLOWS_TIMES.get(self.key, self.key)}"


def logged_model_filter(text: str) -> str:
    """The filter for the service.

    Args:
        text: as the client wrote it; empty means all.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE, MLflow does not take it either.
    """
    check_filter_length(text)
    return _rewritten(text) if text else ""


@lru_cache(_REMEMBERED)
def _rewritten(text: str) -> str:
    try:
        statements = sqlparse.parse(text)
    except Exception as error:  # sqlparse gives up on what nests too deeply
        raise invalid(f"Invalid filter string: {text!r}. {error!r}") from error
    if len(statements) != 1:
        raise invalid(f"Invalid filter string: {text!r}. Expected a single SQL expression.")
    try:
        tokens = _join_in_comparison_tokens(statements[0].tokens)
    except (StopIteration, RuntimeError) as error:
        raise _no_list(text) from error
    clauses: list[str] = []
    for token in tokens:
        if isinstance(token, Comparison):
            clauses.append(_clause(token))
        elif token.value.strip().upper() != "AND":
            raise _no_list(text)
    return " AND ".join(clauses)


def _no_list(text: str) -> MlflowException:
    return invalid(
        f"Invalid filter string: {text!r}. Expected a list of comparisons separated by 'AND' "
        "(e.g. 'metrics.loss > 0.1 AND params.lr = 0.01')."
    )


def _clause(comparison: Comparison) -> str:
    parts = [str(token) for token in comparison.tokens if not token.is_whitespace]
    if len(parts) != _PARTS:
        raise invalid(f"Invalid comparison: {comparison}. Expected a comparison with 3 tokens.")
    name, operator, value = parts[0], parts[1].upper(), parts[2]
    field = _field(name)
    allowed = _NUMERIC if field.numeric else _TEXTUAL
    if operator not in allowed:
        raise invalid(f"Invalid comparison operator for {field}: {operator!r}. Expected one of {allowed}.")
    written = _number(field, value) if field.numeric else _texts(value, several=operator.endswith("IN"))
    return f"{field.entity}.{_quoted(field.key, '`', chr(34))} {operator} {written}"


def _field(name: str) -> Field:
    match = _DOTTED.fullmatch(name)
    if match is None:
        key = name.strip("`")
        return Field("attributes", _TIMES.get(key, key))
    entity, key = match[1], match[2].strip("`")
    if entity not in _ENTITIES:
        raise invalid(f"Invalid entity type: {entity!r}. Expected one of {_ENTITIES}.")
    return Field(entity, _TIMES.get(key, key) if entity == "attributes" else key)


def _number(field: Field, text: str) -> str:
    try:
        number = float(text)
    except ValueError as error:
        raise invalid(f"Invalid value for {field}: expected a number, found {text}") from error
    if not math.isfinite(number):
        raise invalid(f"Invalid value for {field}: expected a finite number, found {text}")
    return str(int(number)) if field.entity == "attributes" and number.is_integer() else repr(number)


def _texts(text: str, *, several: bool) -> str:
    listed = text.startswith("(") and text.endswith(")")
    if listed != several:
        raise invalid(f"Invalid value {text}: IN and NOT IN need a list of values, other operators one.")
    if not listed:
        return _quoted(text.strip("'"), "'", '"')
    try:
        values: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise invalid(f"Invalid list of values: {text}") from error
    if isinstance(values, (str, int, float)):
        values = (values,)
    if not isinstance(values, tuple) or not values:
        raise invalid(f"Invalid list of values: {text}")
    return "(" + ", ".join(_quoted(str(value), "'", '"') for value in values) + ")"


def _quoted(text: str, *quotes: str) -> str:
    for quote in quotes:
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise invalid(f"Invalid text {text}: it has every kind of quotes in it.")
