"""Queries: parsed, held to limits and validated once, then remembered, since the web UI sends the same few for ever."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    parse,
    validate,
)

from runstream_gateway.mlflow_api.graphql.schema import SCHEMA

if TYPE_CHECKING:
    from graphql import SelectionSetNode

MAX_DEPTH: Final = 10
"""Levels of fields in a query (MLflow)."""

MAX_SELECTIONS: Final = 1_000
"""Fields of a query, fragments counted wherever they are spread (MLflow)."""

MAX_ROOT_FIELDS: Final = 10
"""Fields at the top of a query (MLflow)."""

MAX_ALIASES: Final = 10
"""Renamed fields of one level (MLflow)."""

_MAX_TOKENS: Final = 10_000
_REMEMBERED: Final = 256


class UnparsableQueryError(Exception):
    """The text is no GraphQL."""


class RefusedQueryError(Exception):
    """The query is too large or asks for what is not there.

    Args:
        messages: what is wrong, for a person.
    """

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


@lru_cache(_REMEMBERED)
def prepared(query: str) -> DocumentNode:
    """The document of a query, ready to be executed.

    Raises:
        UnparsableQueryError: it is no GraphQL.
        RefusedQueryError: it is too large or not valid against the schema.
    """
    try:
        document = parse(query, no_location=True, max_tokens=_MAX_TOKENS)
    except (GraphQLError, RecursionError) as error:
        raise UnparsableQueryError(str(error)) from error
    _check_size(document)
    errors = validate(SCHEMA, document)
    if errors:
        raise RefusedQueryError([error.message for error in errors])
    return document


def _check_size(document: DocumentNode) -> None:
    fragments = {
        item.name.value: item for item in document.definitions if isinstance(item, FragmentDefinitionNode)
    }
    root_fields, most_aliases, selections = 0, 0, 0
    for operation in document.definitions:
        if not isinstance(operation, OperationDefinitionNode):
            continue
        levels = [(operation.selection_set, 1)]
        while levels:
            level, depth = levels.pop()
            if depth > MAX_DEPTH:
                raise RefusedQueryError([f"Query exceeds maximum depth of {MAX_DEPTH}"])
            fields = _fields_of(level, fragments)
            most_aliases = max(most_aliases, sum(field.alias is not None for field in fields))
            root_fields += len(fields) if depth == 1 else 0
            selections += len(fields)
            if selections > MAX_SELECTIONS:
                raise RefusedQueryError([f"Query exceeds maximum total selections of {MAX_SELECTIONS}"])
            levels += [(field.selection_set, depth + 1) for field in fields if field.selection_set]
    _refuse_more("root fields", root_fields, MAX_ROOT_FIELDS)
    _refuse_more("aliases", most_aliases, MAX_ALIASES)


def _fields_of(level: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode]) -> list[FieldNode]:
    """Fields of one level, those of its fragments too."""
    fields: list[FieldNode] = []
    spread: set[str] = set()
    waiting = list(level.selections)
    while waiting:
        selection = waiting.pop()
        if isinstance(selection, FieldNode):
            fields.append(selection)
        elif isinstance(selection, InlineFragmentNode):
            waiting += selection.selection_set.selections
        elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
            # Each fragment once a level: one that spreads itself would never end.
            spread.add(selection.name.value)
            if selection.name.value in fragments:
                waiting += fragments[selection.name.value].selection_set.selections
    return fields


def _refuse_more(what: str, number: int, limit: int) -> None:
    if number > limit:
        raise RefusedQueryError([f"GraphQL queries should have at most {limit} {what}, got {number} {what}."])
