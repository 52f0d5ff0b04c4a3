"""Keyset pages: rows beyond the last one seen, in an order of several keys with absent values last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Select, and_, collate, or_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.sql.selectable import NamedFromClause

PRESENT = 0
"""Rank of rows whose key has a value; those of higher ranks come after them, whatever the direction."""


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order.

    Args:
        rank: PRESENT or higher; None when every row has a value.
    """

    value: ColumnElement[Any]
    descending: bool = False
    rank: ColumnElement[int] | None = None


@dataclass(frozen=True, slots=True)
class KeyAt:
    """Where a row stands in one key; the value counts only when the rank is PRESENT."""

    rank: int
    value: Any = None


@dataclass(frozen=True, slots=True)
class KeyShape:
    """What a position of an order may hold in one key.

    Args:
        python_type: of the value.
        highest_rank: PRESENT when every row has a value.
    """

    python_type: type
    highest_rank: int = PRESENT


Position: TypeAlias = tuple[KeyAt, ...]
"""Where a row stands: one entry a key. Rows of an order never stand at the same place."""


def text_key(column: ColumnElement[str]) -> ColumnElement[str]:
    """Text in the order of its code points, whatever the database's collation."""
    return collate(column, "C")


def labelled(keys: Sequence[SortKey]) -> list[ColumnElement[Any]]:
    """The columns that ``position_of`` and ``relabelled`` need in a statement."""
    columns: list[ColumnElement[Any]] = []
    for index, key in enumerate(keys):
        columns.append(key.value.label(f"key_{index}"))
        if key.rank is not None:
            columns.append(key.rank.label(f"rank_{index}"))
    return columns


def relabelled(keys: Sequence[SortKey], source: NamedFromClause) -> list[SortKey]:
    """The same keys, seen from outside of a subquery over ``labelled`` columns."""
    return [
        SortKey(
            source.c[f"key_{index}"],
            key.descending,
            None if key.rank is None else source.c[f"rank_{index}"],
        )
        for index, key in enumerate(keys)
    ]


def page(statement: Select[Any], keys: Sequence[SortKey], after: Position | None, limit: int) -> Select[Any]:
    """The first rows of a statement beyond a position."""
    if after is not None:
        statement = statement.where(_beyond(keys, after))
    for key in keys:
        if key.rank is not None:
            statement = statement.order_by(key.rank)
        statement = statement.order_by(key.value.desc() if key.descending else key.value)
    return statement.limit(limit)


def position_of(row: Row[Any], keys: Sequence[SortKey]) -> Position:
    """Where a row of ``labelled`` columns stands."""
    values = row._mapping  # noqa: SLF001 - its public name
    return tuple(
        KeyAt(PRESENT, values[f"key_{index}"])
        if key.rank is None or values[f"rank_{index}"] == PRESENT
        else KeyAt(values[f"rank_{index}"])
        for index, key in enumerate(keys)
    )


def _beyond(keys: Sequence[SortKey], after: Position) -> ColumnElement[bool]:
    """Whether a row comes after a position: by the first key, or equal there and by the second, and so on."""
    alternatives: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for key, at in zip(keys, after, strict=True):
        alternatives.append(and_(*same, _key_beyond(key, at)))
        same.append(_key_equal(key, at))
    return and_(*_index_bound(keys[0], after[0]), or_(*alternatives))


def _key_beyond(key: SortKey, at: KeyAt) -> ColumnElement[bool]:
    if at.rank != PRESENT:
        return _rank(key) > at.rank
    value_beyond: ColumnElement[bool] = key.value < at.value if key.descending else key.value > at.value
    if key.rank is None:
        return value_beyond
    return or_(key.rank > PRESENT, and_(key.rank == PRESENT, value_beyond))


def _key_equal(key: SortKey, at: KeyAt) -> ColumnElement[bool]:
    if at.rank != PRESENT:
        return _rank(key) == at.rank
    equal: ColumnElement[bool] = key.value == at.value
    return equal


def _rank(key: SortKey) -> ColumnElement[int]:
    if key.rank is None:
        raise ValueError("a position without a value in a key that every row has")
    return key.rank


def _index_bound(key: SortKey, at: KeyAt) -> list[ColumnElement[bool]]:
    # Implied by the alternatives, but an index scan can start here and cannot start at an OR.
    if key.rank is not None:
        return []
    return [key.value <= at.value if key.descending else key.value >= at.value]
