"""What a search of runs never leaves: experiments and lifecycle stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.search.compile_values import one_of
from sqlalchemy import BigInteger, SmallInteger

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


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
