"""What searches may ask, decided by MLflow's own parsers, so that refusals are MLflow's word for word.

A filter that passes goes on to the service as text. Parsers are slow and clients repeat their filters, so what passed is
remembered; what did not is parsed again, which nobody does often.

Source of the rules that are not in MLflow's parsers: the clauses that its SQL store makes of them
(mlflow.store.tracking.sqlalchemy_store, release 3.17).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import (
    SearchExperimentsUtils,
    SearchModelUtils,
    SearchModelVersionUtils,
    SearchUtils,
)
from mlflow.utils.validation import _parse_experiment_id

from runstream_gateway.mlflow_api.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Clause: TypeAlias = dict[str, Any]

MAX_PAGE_SIZE = 50_000
"""Most results of a page of runs or experiments (MLflow `SEARCH_MAX_RESULTS_THRESHOLD`)."""

MAX_FILTER_CHARS = 100_000
"""Longest filter; services take no longer one, and MLflow's parsers would be busy for minutes."""

MAX_ORDER_ITEMS = 1_000
"""Most items of an order."""

_REMEMBERED = 4_096
_MAX_REMEMBERED_CHARS = 4_096
_NUMERIC = frozenset({"=", "!=", "<", "<=", ">", ">="})
_TEXTUAL = frozenset({"=", "!=", "LIKE", "ILIKE"})
_NULLNESS = frozenset({"IS NULL", "IS NOT NULL"})


def check_page_size(max_results: int) -> None:
    """Refuse a number of results that MLflow's store refuses.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    if max_results < 1:
        raise invalid(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer"
        )
    if max_results > MAX_PAGE_SIZE:
        raise invalid(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be at most {MAX_PAGE_SIZE}"
        )


def check_filter_length(text: str) -> None:
    """Refuse a filter, or an item of an order, that is too long to be parsed.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    if len(text) > MAX_FILTER_CHARS:
        raise invalid(
            f"Invalid filter: it has {len(text)} characters, at most {MAX_FILTER_CHARS} are allowed."
        )


def check_run_search(filter_text: str, order_by: Sequence[str]) -> None:
    """Refuse a filter or an order of runs that MLflow refuses.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    _once(_check_run_filter, filter_text)
    _check_order(_parse_run_order, order_by, distinct=True)


def check_experiment_search(filter_text: str, order_by: Sequence[str]) -> None:
    """Refuse a filter or an order of experiments that MLflow refuses.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    _once(_check_experiment_filter, filter_text)
    _check_order(_parse_experiment_order, order_by)


def distinct_experiment_order(order_by: Sequence[str]) -> list[str]:
    """The items of an order that passed, each key once: MLflow takes repeats, the first of which decides."""
    first: dict[tuple[str, str], str] = {}
    for item in order_by:
        first.setdefault(_parse_experiment_order(item), item)
    return list(first.values())


def check_model_search(filter_text: str, order_by: Sequence[str]) -> None:
    """Refuse a filter or an order of registered models that MLflow refuses.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    _once(_check_model_filter, filter_text)
    _check_order(_parse_model_order, order_by, distinct=True)


def check_version_search(filter_text: str, order_by: Sequence[str]) -> None:
    """Refuse a filter or an order of model versions that MLflow refuses.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    _once(_check_version_filter, filter_text)
    _check_order(_parse_version_order, order_by, distinct=True)


def _once(check: Callable[[str], None], text: str) -> None:
    """Make a check; texts of a size that somebody types are remembered."""
    if not text:
        return
    check_filter_length(text)
    if len(text) > _MAX_REMEMBERED_CHARS:
        getattr(check, "__wrapped__", check)(text)
    else:
        check(text)


def _check_order(
    parse: Callable[[str], tuple[str, str]], order_by: Sequence[str], *, distinct: bool = False
) -> None:
    if len(order_by) > MAX_ORDER_ITEMS:
        raise invalid(f"`order_by` has {len(order_by)} items, at most {MAX_ORDER_ITEMS} are allowed.")
    seen: set[tuple[str, str]] = set()
    for item in order_by:
        check_filter_length(item)
        key = parse(item)
        if distinct and key in seen:
            # MLflow answers 500 to this.
            raise invalid(f"`order_by` contains duplicate fields: {list(order_by)}")
        seen.add(key)


def _parsed(parser: Callable[[str], list[Clause]], text: str) -> list[Clause]:
    try:
        return parser(text)
    except MlflowException:
        raise
    except Exception as error:  # MLflow answers 500 to what its parser stumbles over
        raise invalid(f"Invalid filter '{text}'. Could not be parsed: {error}") from error


def _parsed_order(parser: Callable[[str], tuple[str, str, bool]], text: str) -> tuple[str, str]:
    try:
        kind, key, _ = parser(text)
    except MlflowException:
        raise
    except Exception as error:  # as above
        raise invalid(f"Invalid order_by clause '{text}'. Could not be parsed: {error}") from error
    return kind, key


@lru_cache(_REMEMBERED)
def _check_run_filter(text: str) -> None:
    for clause in _parsed(SearchUtils.parse_search_filter, text):
        kind, comparator = clause["type"], clause["comparator"].upper()
        key = SearchUtils.translate_key_alias(clause["key"])
        # Each of these is the kind's own check too: it refuses comparators that the kind does not have.
        if SearchUtils.is_string_attribute(kind, key, comparator):
            continue
        if SearchUtils.is_numeric_attribute(kind, key, comparator):
            continue
        if SearchUtils.is_metric(kind, comparator):
            _check_number(clause["value"])
            continue
        if not any(
            check(kind, comparator)
            for check in (SearchUtils.is_param, SearchUtils.is_tag, SearchUtils.is_dataset)
        ):
            raise invalid(f"Invalid search expression type '{kind}'")


def _check_number(value: Any) -> None:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(f"Expected numeric value type for metric. Found {value}") from error


@lru_cache(_REMEMBERED)
def _parse_run_order(item: str) -> tuple[str, str]:
    kind, key = _parsed_order(SearchUtils.parse_order_by_for_search_runs, item)
    if kind not in ("attribute", "metric", "tag", "parameter"):
        raise invalid(f"Invalid identifier type '{kind}'")
    return kind, SearchUtils.translate_key_alias(key)


@lru_cache(_REMEMBERED)
def _check_experiment_filter(text: str) -> None:
    for clause in _parsed(SearchExperimentsUtils.parse_search_filter, text):
        kind, key, comparator = clause["type"], clause["key"], clause["comparator"]
        if kind != "attribute":
            if comparator not in _TEXTUAL | _NULLNESS:
                raise invalid(f"Invalid comparator for tag: {comparator}")
        elif key == "experiment_id":
            _check_experiment_ids(comparator, clause["value"])
        elif key == "name":
            SearchExperimentsUtils.is_string_attribute(kind, key, comparator)
            if comparator not in _TEXTUAL:
                raise invalid(f"Invalid comparator for string attribute: {comparator}")
        else:
            _check_experiment_time(key, comparator, clause["value"])


def _check_experiment_ids(comparator: str, value: Any) -> None:
    if comparator not in ("=", "!=", "IN", "NOT IN"):
        raise invalid(f"Invalid comparator for experiment_id: {comparator}")
    for item in value if isinstance(value, tuple) else (value,):
        _parse_experiment_id(item)


def _check_experiment_time(key: str, comparator: str, value: Any) -> None:
    SearchExperimentsUtils.is_numeric_attribute("attribute", key, comparator)
    if comparator not in _NUMERIC:
        raise invalid(f"Invalid comparator for numeric attribute: {comparator}")
    _check_integer(key, value)


def _check_integer(key: str, value: Any) -> None:
    try:
        if isinstance(value, float):
            value = str(value)
        int(value)
    except (TypeError, ValueError) as error:
        raise invalid(f"Invalid value for numeric attribute '{key}': {value!r}") from error


@lru_cache(_REMEMBERED)
def _parse_experiment_order(item: str) -> tuple[str, str]:
    kind, key = _parsed_order(SearchExperimentsUtils.parse_order_by_for_search_experiments, item)
    if kind != "attribute":
        raise invalid(f"Invalid order_by entity: {kind}")
    return kind, key


@lru_cache(_REMEMBERED)
def _check_model_filter(text: str) -> None:
    for clause in _parsed(SearchModelUtils.parse_search_filter, text):
        comparator = clause["comparator"]
        if clause["type"] == "tag":
            _check_registry_tag(comparator)
        elif clause["key"] != "name":
            raise invalid(f"Invalid attribute name: {clause['key']}")
        elif comparator not in {*_TEXTUAL, "IN", "NOT IN"}:
            raise invalid(f"Invalid comparator for attribute: {comparator}")


@lru_cache(_REMEMBERED)
def _check_version_filter(text: str) -> None:
    for clause in _parsed(SearchModelVersionUtils.parse_search_filter, text):
        key, comparator, value = clause["key"], clause["comparator"], clause["value"]
        if clause["type"] == "tag":
            _check_registry_tag(comparator)
        elif key not in SearchModelVersionUtils.VALID_SEARCH_ATTRIBUTE_KEYS:
            raise invalid(f"Invalid attribute name: {key}")
        elif key in SearchModelVersionUtils.NUMERIC_ATTRIBUTES:
            if comparator not in _NUMERIC:
                raise invalid(f"Invalid comparator for attribute {key}: {comparator}")
            _check_integer(key, value)
        elif comparator not in _TEXTUAL and not (
            comparator in ("IN", "NOT IN") and key in ("run_id", "name")
        ):
            raise invalid(f"Invalid comparator for attribute: {comparator}")


def _check_registry_tag(comparator: str) -> None:
    if comparator not in _TEXTUAL:
        raise invalid(f"Invalid comparator for tag: {comparator}")


@lru_cache(_REMEMBERED)
def _parse_model_order(item: str) -> tuple[str, str]:
    def parser(text: str) -> tuple[str, str, bool]:
        return ("attribute", *SearchUtils.parse_order_by_for_search_registered_models(text))

    kind, key = _parsed_order(parser, item)
    # Two names of one column.
    return kind, "timestamp" if key == "last_updated_timestamp" else key


@lru_cache(_REMEMBERED)
def _parse_version_order(item: str) -> tuple[str, str]:
    kind, key = _parsed_order(SearchModelVersionUtils.parse_order_by_for_search_model_versions, item)
    if key not in SearchModelVersionUtils.VALID_ORDER_BY_ATTRIBUTE_KEYS:
        raise invalid(
            f"Invalid order by key '{key}' specified. "
            f"Valid keys are {SearchModelVersionUtils.VALID_ORDER_BY_ATTRIBUTE_KEYS}"
        )
    return kind, key
