"""The search of logged models: parse, compile, ask the store, make the next token."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from runstream_common.errors import InvalidArgument
from runstream_common.search.keyset import PRESENT, KeyShape, SortKey, text_key
from runstream_common.search.ordering import MAX_ORDER_TERMS
from runstream_common.search.page_tokens import decode_token, encode_token, search_digest
from runstream_common.search.pages import checked_page_size
from runstream_common.search.parser import parse_filter
from runstream_common.search.problems import InvalidOrderBy
from sqlalchemy import case

from runstream_metadata.entities import LifecycleStage
from runstream_metadata.search.compile_logged_models import logged_model_predicate
from runstream_metadata.search.fields import LOGGED_MODEL_FIELDS
from runstream_metadata.search.requests import (
    DEFAULT_LOGGED_MODEL_PAGE_SIZE,
    MAX_EXPERIMENTS,
    MAX_PAGE_SIZE,
    LoggedModelOrder,
    LoggedModelPage,
    LoggedModelSearch,
)
from runstream_metadata.store.logged_model_search import LoggedModelQuery, find_logged_models, newest_value
from runstream_metadata.store.logged_model_tables import logged_model
from runstream_metadata.store.run_order import MISSING_RANK, NAN, NAN_RANK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

_COLUMNS = {
    "name": text_key(logged_model.c.name),
    "model_id": logged_model.c.model_id,
    "model_type": text_key(logged_model.c.model_type),
    "source_run_id": text_key(logged_model.c.source_run_id),
    "status": logged_model.c.status,
    "status_message": text_key(logged_model.c.status_message),
    "artifact_location": text_key(logged_model.c.artifact_uri),
    "experiment_id": logged_model.c.experiment_id,
    "lifecycle_stage": logged_model.c.lifecycle_stage,
    "creation_timestamp": logged_model.c.creation_time_ms,
    "last_updated_timestamp": logged_model.c.last_update_time_ms,
}
_TIES = (SortKey(logged_model.c.creation_time_ms, descending=True), SortKey(logged_model.c.model_id))
_MAX_DATASETS = 100
"""Entries of one search's ``datasets``."""


async def search_logged_models(
    connection: AsyncConnection | AsyncSession, search: LoggedModelSearch
) -> LoggedModelPage:
    """One page of model ids.

    Raises:
        InvalidFilter, InvalidOrderBy, InvalidPageToken: see docs/search.md.
        InvalidArgument: too many experiments or datasets, or the page size is out of bounds.
    """
    size = checked_page_size(search.page_size, default=DEFAULT_LOGGED_MODEL_PAGE_SIZE, at_most=MAX_PAGE_SIZE)
    _check_lists(search)
    experiment_ids = tuple(sorted(set(search.experiment_ids)))
    expression = parse_filter(search.filter_text, LOGGED_MODEL_FIELDS, mlflow_strict=True)
    keys = [*(_key(index, term) for index, term in enumerate(search.order_by)), *_TIES]
    digest = _digest(search, experiment_ids)
    after = decode_token(search.page_token, digest, [_shape(key) for key in keys])
    if not experiment_ids:
        return LoggedModelPage(())
    predicate = logged_model_predicate(expression, search.datasets)
    query = LoggedModelQuery(experiment_ids, LifecycleStage.ACTIVE, predicate, keys, after, size + 1)
    found = await find_logged_models(connection, query)
    token = encode_token(digest, found[size - 1]) if len(found) > size else ""
    return LoggedModelPage(tuple(f"m-{position[-1].value.hex}" for position in found[:size]), token)


def _check_lists(search: LoggedModelSearch) -> None:
    for field, items, limit in (
        ("experiment_ids", search.experiment_ids, MAX_EXPERIMENTS),
        ("datasets", search.datasets, _MAX_DATASETS),
        ("order_by", search.order_by, MAX_ORDER_TERMS),
    ):
        if len(items) > limit:
            raise InvalidArgument.of(field, f"has {len(items)} entries, at most {limit} are allowed")
    for index, scope in enumerate(search.datasets):
        if not scope.name:
            raise InvalidArgument.of(f"datasets[{index}].dataset_name", "is required")


def _digest(search: LoggedModelSearch, experiment_ids: Sequence[int]) -> bytes:
    return search_digest(
        "logged models",
        experiment_ids,
        search.filter_text,
        [(scope.name, scope.digest) for scope in search.datasets],
        [
            (term.field_name, term.descending, term.dataset and (term.dataset.name, term.dataset.digest))
            for term in search.order_by
        ],
    )


def _key(index: int, term: LoggedModelOrder) -> SortKey:
    entity, dot, key = term.field_name.partition(".")
    if not dot:
        name = LOGGED_MODEL_FIELDS.aliases.get(entity, entity)
        if name not in _COLUMNS:
            raise InvalidOrderBy(f"order_by[{index}]", 0, f"Invalid order by field name: {term.field_name}")
        return SortKey(_COLUMNS[name], term.descending)
    if entity != "metrics" or not key:
        raise InvalidOrderBy(
            f"order_by[{index}]",
            0,
            f"Invalid order by field name: {term.field_name}. Only metrics are supported.",
        )
    scope = term.dataset
    value = newest_value(key, scope.name if scope else "", scope.digest if scope else "")
    rank = case((value.is_(None), MISSING_RANK), (value == NAN, NAN_RANK), else_=PRESENT)
    return SortKey(value, term.descending, rank)


def _shape(key: SortKey) -> KeyShape:
    python_type = UUID if key.value is logged_model.c.model_id else key.value.type.python_type
    return KeyShape(python_type, PRESENT if key.rank is None else MISSING_RANK)
