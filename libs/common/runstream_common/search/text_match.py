"""The text operators over values that the program holds itself."""

from __future__ import annotations

import re

from runstream_common.search.syntax import Operator

_LIKE_PARTS = re.compile(r"\\([%_\\])|(%)|(_)|(.)", re.DOTALL)


def matches(value: str, operator: Operator, wanted: str) -> bool:
    """Whether ``value operator wanted``.

    Raises:
        ValueError: the operator is not for texts.
    """
    match operator:
        case Operator.EQUAL:
            return value == wanted
        case Operator.NOT_EQUAL:
            return value != wanted
        case Operator.LIKE:
            return _like(wanted, re.DOTALL).fullmatch(value) is not None
        case Operator.ILIKE:
            return _like(wanted, re.DOTALL | re.IGNORECASE).fullmatch(value) is not None
        case _:
            raise ValueError(f"{operator} does not compare texts")


def _like(pattern: str, flags: int) -> re.Pattern[str]:
    return re.compile(_LIKE_PARTS.sub(_expression, pattern), flags)


def _expression(part: re.Match[str]) -> str:
    escaped, many, one, plain = part.groups()
    if many:
        return ".*"
    if one:
        return "."
    return re.escape(escaped or plain)
