"""The schema, and how a field is read from the JSON object that a resolver answered."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLError,
    GraphQLList,
    GraphQLObjectType,
    GraphQLScalarType,
    build_schema,
)

if TYPE_CHECKING:
    from graphql import GraphQLOutputType, GraphQLResolveInfo

SCHEMA = build_schema((files(__package__) / "schema.graphql").read_text(encoding="utf-8"))
"""Without resolvers: `resolvers` has the few that there are, and `field_of` is for the rest."""

_DEFAULTS = {"String": "", "LongString": 0, "Float": 0.0, "Int": 0, "Boolean": False}
_NEVER_SET = "ApiError"


def field_of(source: Any, info: GraphQLResolveInfo) -> Any:
    """A field of an answer; one that is not set reads as protobuf's default, as in MLflow.

    Args:
        source: JSON object with MLflow's snake_case names.
        info: which field is asked for.
    """
    value = source.get(snake_case(info.field_name))
    if value is None:
        return _default(info.return_type)
    if value == "NaN" and str(info.return_type) == "Float":
        # GraphQL has no NaN; the web UI takes null for it.
        return None
    return value


@lru_cache(1_024)
def snake_case(name: str) -> str:
    """``runUuid`` as ``run_uuid``."""
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def _default(kind: GraphQLOutputType) -> Any:
    # No field of the schema is declared non-null.
    if isinstance(kind, GraphQLList):
        return []
    if isinstance(kind, GraphQLObjectType):
        return None if kind.name == _NEVER_SET else {}
    if isinstance(kind, GraphQLScalarType):
        return _DEFAULTS[kind.name]
    return None


def _long_to_text(value: Any) -> str:
    return str(value)


def _long_of_input(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise GraphQLError(f"LongString cannot represent {value!r}") from error


_long = SCHEMA.type_map["LongString"]
if not isinstance(_long, GraphQLScalarType):
    raise TypeError("the schema has no scalar LongString")
_long.serialize = _long_to_text  # type: ignore[method-assign]
_long.parse_value = _long_of_input  # type: ignore[method-assign]
