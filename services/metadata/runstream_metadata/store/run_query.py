"""One page of a search of runs, in the store's terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import ColumnElement, FromClause

if TYPE_CHECKING:
    from runstream_common.search.keyset import Position

    from runstream_metadata.store.run_order import RunOrder
    from runstream_metadata.store.search_scope import RunScope

Predicate: TypeAlias = Callable[[FromClause], ColumnElement[bool]]
"""Makes a filter over a source that has the columns of ``run``."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A page of runs.

    Args:
        predicate: the filter; None matches all.
        order: ties are broken by start time, newest first, then run id.
        after: the position to start behind; None for the first page.
        limit: most rows.
    """

    scope: RunScope
    predicate: Predicate | None
    order: tuple[RunOrder, ...]
    after: Position | None
    limit: int
