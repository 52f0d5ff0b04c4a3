"""Runs the searches. Reads sort keys and ids only; what a page shows is loaded by id afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.search.keyset import SortKey, labelled, page, position_of
from runstream_common.search.planning import PLANNER_SETTINGS
from sqlalchemy import select

from runstream_registry.store.tables import model, version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.search.keyset import Position
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

ROW_ID = "row_id"


@dataclass(frozen=True, slots=True)
class PageQuery:
    """A page of a search.

    Args:
        statement: selects ``row_id`` of all that match.
        keys: the order; no two rows are equal in it.
        after: the position to start behind; None for the first page.
        limit: most rows.
    """

    statement: Select[Any]
    keys: Sequence[SortKey]
    after: Position | None
    limit: int

    def page(self) -> Select[Any]:
        """The statement of the page."""
        return page(self.statement.add_columns(*labelled(self.keys)), self.keys, self.after, self.limit)


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row of a page: its id, and where it stands."""

    row_id: Any
    position: Position


def model_statement(predicate: ColumnElement[bool] | None) -> Select[Any]:
    """All models that match."""
    statement = select(model.c.model_id.label(ROW_ID)).where(model.c.deleted_time_ms.is_(None))
    return statement if predicate is None else statement.where(predicate)


def version_statement(predicate: ColumnElement[bool] | None) -> Select[Any]:
    """All versions that match. Versions of deleted models are marked deleted themselves."""
    statement = (
        select(version.c.version_id.label(ROW_ID))
        .select_from(version.join(model, model.c.model_id == version.c.model_id))
        .where(version.c.deleted_time_ms.is_(None))
    )
    return statement if predicate is None else statement.where(predicate)


async def find(connection: AsyncConnection, query: PageQuery) -> list[FoundRow]:
    """The page's rows in order.

    The connection is in a transaction: the planner's settings hold until it ends.
    """
    await connection.execute(PLANNER_SETTINGS)
    rows = await connection.execute(query.page())
    return [FoundRow(row._mapping[ROW_ID], position_of(row, query.keys)) for row in rows]  # noqa: SLF001 - its public name
