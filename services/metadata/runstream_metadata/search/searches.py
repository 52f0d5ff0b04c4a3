"""The two searches: parse, compile, ask the store, make the next token."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from runstream_common.errors import InvalidArgument
from runstream_common.search.keyset import KeyShape
from runstream_common.search.ordering import OrderTerm, parse_order_by
from runstream_common.search.page_tokens import decode_token, encode_token, search_digest
from runstream_common.search.pages import checked_page_size
from runstream_common.search.parser import parse_filter
from runstream_common.search.syntax import Entity, Field

from runstream_metadata.search.compile_experiments import experiment_keys, experiment_predicate
from runstream_metadata.search.compile_runs import run_order, run_predicate
from runstream_metadata.search.fields import EXPERIMENT_FIELDS, RUN_FIELDS
from runstream_metadata.search.requests import (
    DEFAULT_PAGE_SIZE,
    MAX_EXPERIMENTS,
    MAX_PAGE_SIZE,
    ExperimentPage,
    ExperimentSearch,
    RunPage,
    RunSearch,
    lifecycle_stages,
)
from runstream_metadata.store.run_order import key_shapes
from runstream_metadata.store.run_query import RunQuery
from runstream_metadata.store.search_queries import ExperimentQuery, find_experiments, find_runs
from runstream_metadata.store.search_scope import RunScope

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

_NEWEST_FIRST = (OrderTerm(Field(Entity.ATTRIBUTE, "start_time"), descending=True),)


async def search_runs(connection: AsyncConnection | AsyncSession, search: RunSearch) -> RunPage:
    """One page of run ids.

    The connection is in a transaction; reading the runs in the same one keeps page and runs close together.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken: see docs/search.md.
        InvalidArgument: too many experiments, or the page size is out of bounds.
    """
    page_size = checked_page_size(search.page_size, default=DEFAULT_PAGE_SIZE, at_most=MAX_PAGE_SIZE)
    query, digest = plan_runs(search, limit=page_size + 1)
    if not query.scope.experiment_ids:
        return RunPage(())
    found = await find_runs(connection, query)
    token = encode_token(digest, found[page_size - 1]) if len(found) > page_size else ""
    return RunPage(tuple(_run_id(position[-1].value) for position in found[:page_size]), token)


def plan_runs(search: RunSearch, *, limit: int) -> tuple[RunQuery, bytes]:
    """The search in the store's terms, and the digest that its tokens carry."""
    experiment_ids = tuple(sorted(set(search.experiment_ids)))
    if len(experiment_ids) > MAX_EXPERIMENTS:
        raise InvalidArgument.of("experiment_ids", f"names more than {MAX_EXPERIMENTS} experiments")
    scope = RunScope(experiment_ids, tuple(map(int, lifecycle_stages(search.view_type))))
    expression = parse_filter(search.filter_text, RUN_FIELDS, mlflow_strict=search.mlflow_strict)
    terms = parse_order_by(search.order_by, RUN_FIELDS, mlflow_strict=search.mlflow_strict)
    # Newest first is the order of ties, and the order without terms.
    order = run_order(() if terms == _NEWEST_FIRST else terms)
    digest = search_digest(
        "runs", experiment_ids, scope.stages, search.filter_text, list(search.order_by), search.mlflow_strict
    )
    after = decode_token(search.page_token, digest, key_shapes(order))
    predicate = None if expression is None else run_predicate(expression, scope)
    return RunQuery(scope, predicate, order, after, limit), digest


async def search_experiments(
    connection: AsyncConnection | AsyncSession, search: ExperimentSearch
) -> ExperimentPage:
    """One page of experiment ids; raises as search_runs does."""
    page_size = checked_page_size(search.page_size, default=DEFAULT_PAGE_SIZE, at_most=MAX_PAGE_SIZE)
    stages = tuple(map(int, lifecycle_stages(search.view_type)))
    expression = parse_filter(search.filter_text, EXPERIMENT_FIELDS, mlflow_strict=search.mlflow_strict)
    terms = parse_order_by(search.order_by, EXPERIMENT_FIELDS, mlflow_strict=search.mlflow_strict)
    keys = experiment_keys(terms)
    digest = search_digest(
        "experiments", stages, search.filter_text, list(search.order_by), search.mlflow_strict
    )
    after = decode_token(search.page_token, digest, [KeyShape(key.value.type.python_type) for key in keys])
    predicate = None if expression is None else experiment_predicate(expression)
    found = await find_experiments(connection, ExperimentQuery(stages, predicate, keys, after, page_size + 1))
    token = encode_token(digest, found[page_size - 1]) if len(found) > page_size else ""
    return ExperimentPage(tuple(int(position[-1].value) for position in found[:page_size]), token)


def _run_id(value: object) -> str:
    if not isinstance(value, UUID):
        raise TypeError(f"the last key of a run's position is {type(value).__name__}, not its id")
    return value.hex
