"""What a search of runs never leaves: experiments and lifecycle stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, BigInteger, SmallInteger, any_, bindparam

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.types import TypeEngine


@dataclass(frozen=True, slots=True)
class RunScope:
    """Where a search of runs looks; neither part is empty."""

    experiment_ids: tuple[int, ...]
    stages: tuple[int, ...]

    def experiments(self, column: ColumnElement[int]) -> ColumnElement[bool]:
        """Whether the column names one of the experiments. Every subquery asks it, so that none leaves the scope."""
        return one_of(column, self.experiment_ids, BigInteger())

    def visible(self, column: ColumnElement[int]) -> ColumnElement[bool]:
        """Whether the column names one of the lifecycle stages."""
        return one_of(column, self.stages, SmallInteger())


def one_of(
    column: ColumnElement[Any], values: Sequence[Any], value_type: TypeEngine[Any]
) -> ColumnElement[bool]:
    """Whether the column has one of the values: one bound parameter, whatever their number."""
    if len(values) == 1:
        return column == bindparam(None, values[0], value_type)
    return column == any_(bindparam(None, list(values), ARRAY(value_type)))
