"""Checks of single parameters, with MLflow's rules and texts (mlflow.server.handlers, release 3.17).

MLflow looks at types only when the body did not parse as the endpoint's message; what is required is always looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from mlflow.utils.validation import invalid_value, missing_value

from runstream_gateway.mlflow_api.errors import invalid

Check: TypeAlias = Callable[[Any], bool]
"""Whether a value passes; may raise `CheckRefusal` to say more."""
Schema: TypeAlias = Mapping[str, Sequence[Check]]
"""Checks by parameter, in the order in which MLflow makes them."""

_SEE_DOCS = " See the API docs for more information about request parameters."


class CheckRefusal(Exception):
    """A check's own text for what is wrong."""


def required(value: Any) -> bool:
    """Given, and not the empty text (which is what an absent field of a message reads as)."""
    return value is not None and value != ""


def string(value: Any) -> bool:
    """A text."""
    return isinstance(value, str)


def int_like(value: Any) -> bool:
    """An integer, or a text of one."""
    try:
        int(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, float) or value.is_integer()


def boolean(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def float_like(value: Any) -> bool:
    """A number, or a text of one."""
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def array(value: Any) -> bool:
    """A list."""
    return isinstance(value, list)


def strings(value: Any) -> bool:
    """A list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def at_most(limit: int) -> Check:
    """A check for an integer that is not greater than the limit."""

    def check(value: Any) -> bool:
        return int_like(value) and int(value) <= limit

    return check


def entries_with(name: str, *fields: str) -> Check:
    """A check for a list of objects that all have the fields; the refusal names the place: ``metrics[3].key``.

    Args:
        name: the parameter.
        fields: what each entry needs, in the order in which it is looked for.
    """

    def check(entries: Any) -> bool:
        if not isinstance(entries, list):
            return False
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                return False
            for field in fields:
                if not required(entry.get(field)):
                    raise CheckRefusal(missing_value(f"{name}[{index}].{field}"))
        return True

    return check


TYPE_CHECKS = frozenset({string, int_like, boolean, float_like, array, strings})


def check_parameters(given: Mapping[str, Any], schema: Schema, *, parsed: bool) -> None:
    """Make every check of the schema.

    Args:
        given: parameters as they came, before they became a message.
        schema: checks by parameter.
        parsed: whether they became a message: then their types are right.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE naming the parameter.
    """
    for name, checks in schema.items():
        if name not in given and required not in checks:
            continue
        value = given.get(name)
        if name == "run_id" and value is None:
            value = given.get("run_uuid")
        for check in checks:
            if parsed and check in TYPE_CHECKS:
                continue
            _make(check, name, value)


def _make(check: Check, name: str, value: Any) -> None:
    try:
        passed = check(value)
    except CheckRefusal as refusal:
        raise invalid(f"{refusal}{_SEE_DOCS}") from refusal
    if not passed:
        raise invalid(_refusal(name, value, check) + _SEE_DOCS)


def _refusal(name: str, value: Any, check: Check) -> str:
    if check is required:
        return f"Missing value for required parameter '{name}'."
    text: str = invalid_value(name, value, f" Hint: Value was of type '{type(value).__name__}'.")
    return text
