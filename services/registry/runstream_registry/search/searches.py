"""The two searches: parse, compile, ask the store, make the next token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.search.keyset import KeyShape
from runstream_common.search.ordering import parse_order_by
from runstream_common.search.page_tokens import decode_token, encode_token, search_digest
from runstream_common.search.pages import checked_page_size
from runstream_common.search.parser import parse_filter

from runstream_registry.search.compile_models import model_keys, model_predicate
from runstream_registry.search.compile_tags import asks_for_prompts, mlflow_prompt_rule
from runstream_registry.search.compile_versions import version_keys, version_predicate
from runstream_registry.search.fields import MODEL_FIELDS, VERSION_FIELDS
from runstream_registry.store import model_queries, version_queries
from runstream_registry.store.search_queries import PageQuery, find, model_statement, version_statement
from runstream_registry.store.tables import model, version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.database import Database
    from runstream_common.search.fields import FieldTable
    from runstream_common.search.keyset import SortKey
    from runstream_common.search.ordering import OrderTerm
    from runstream_common.search.syntax import Expression

    from runstream_registry.entities import Model, Version

DEFAULT_MODELS = 100
MAX_MODELS = 1_000
DEFAULT_VERSIONS = 1_000
MAX_VERSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Search:
    """A search of models or versions.

    Args:
        filter_text: grammar of docs/search.md; empty means all but prompts.
        order_by: "ident [ASC|DESC]" items.
        page_size: 0 means the default.
        page_token: of the previous page; empty for the first.
        mlflow_strict: refuse what MLflow's grammar does not have: OR, NOT and parentheses.
    """

    filter_text: str = ""
    order_by: Sequence[str] = ()
    page_size: int = 0
    page_token: str = ""
    mlflow_strict: bool = False


class Searches:
    """Searches models and versions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def models(self, search: Search) -> tuple[list[Model], str]:
        """One page of models with everything, and the token of the next.

        Raises:
            InvalidFilter, InvalidOrderBy, InvalidPageToken: see docs/search.md.
            InvalidArgument: the page size is out of bounds.
        """
        page_size = checked_page_size(search.page_size, default=DEFAULT_MODELS, at_most=MAX_MODELS)
        query, digest = plan_models(search, limit=page_size + 1)
        ids, token = await self._ids(query, digest, page_size)
        async with self._database.driver() as connection:
            return await model_queries.select_models(connection, ids), token

    async def versions(self, search: Search) -> tuple[list[Version], str]:
        """One page of versions with everything, and the token of the next; raises as ``models``."""
        page_size = checked_page_size(search.page_size, default=DEFAULT_VERSIONS, at_most=MAX_VERSIONS)
        query, digest = plan_versions(search, limit=page_size + 1)
        ids, token = await self._ids(query, digest, page_size)
        async with self._database.driver() as connection:
            return await version_queries.select_versions(connection, ids), token

    async def _ids(self, query: PageQuery, digest: bytes, page_size: int) -> tuple[list[Any], str]:
        async with self._database.connect() as connection:
            found = await find(connection, query)
        token = encode_token(digest, found[page_size - 1].position) if len(found) > page_size else ""
        return [row.row_id for row in found[:page_size]], token


def plan_models(search: Search, *, limit: int) -> tuple[PageQuery, bytes]:
    """The search in the store's terms, and the digest that its tokens carry."""
    expression, terms = _parsed(search, MODEL_FIELDS)
    expression, of_prompts = _prompt_rule(search, expression)
    statement = model_statement(None if expression is None else model_predicate(expression))
    if not of_prompts:
        statement = statement.where(model.c.prompt.is_(False))
    return _planned("models", search, statement, model_keys(terms), limit)


def plan_versions(search: Search, *, limit: int) -> tuple[PageQuery, bytes]:
    """The search in the store's terms, and the digest that its tokens carry."""
    expression, terms = _parsed(search, VERSION_FIELDS)
    expression, of_prompts = _prompt_rule(search, expression)
    statement = version_statement(None if expression is None else version_predicate(expression))
    if not of_prompts:
        statement = statement.where(version.c.prompt.is_(False))
    return _planned("versions", search, statement, version_keys(terms), limit)


def _parsed(search: Search, fields: FieldTable) -> tuple[Expression | None, tuple[OrderTerm, ...]]:
    expression = parse_filter(search.filter_text, fields, mlflow_strict=search.mlflow_strict)
    return expression, parse_order_by(search.order_by, fields)


def _prompt_rule(search: Search, expression: Expression | None) -> tuple[Expression | None, bool]:
    """The filter, and whether prompts are not to be left out."""
    return (
        mlflow_prompt_rule(expression) if search.mlflow_strict else (expression, asks_for_prompts(expression))
    )


def _planned(
    kind: str, search: Search, statement: Any, keys: list[SortKey], limit: int
) -> tuple[PageQuery, bytes]:
    digest = search_digest(kind, search.filter_text, list(search.order_by), search.mlflow_strict)
    after = decode_token(search.page_token, digest, [KeyShape(key.value.type.python_type) for key in keys])
    return PageQuery(statement, keys, after, limit), digest
