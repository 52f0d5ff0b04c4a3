"""Records outcomes of evaluations of versions, which gates ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_registry.changes import record_change
from runstream_registry.models import model_changes
from runstream_registry.models.lookups import existing
from runstream_registry.models.models import locked_model
from runstream_registry.store import version_repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_common.clock import Clock
    from runstream_common.database import Database


@dataclass(frozen=True, slots=True)
class NewEvaluation:
    """The outcome of an evaluation; checked by ``rules``."""

    evaluation: str
    passed: bool
    summary: str
    url: str


class Evaluations:
    """Use cases around evaluations.

    Args:
        wake: is called after each commit, so that its event leaves at once.
    """

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake

    async def record(self, name: str, number: int, new: NewEvaluation, *, actor: str) -> None:
        """Record an outcome; the newest of a name counts.

        Raises:
            ModelNotFound, VersionNotFound: there is none.
        """
        now_ms = self._clock.now_ms()
        async with self._database.driver() as connection, connection.transaction():
            await locked_model(connection, name)
            version = await existing(connection, name, number)
            await version_repository.insert_evaluation(
                connection,
                version.version_id,
                name=new.evaluation,
                passed=new.passed,
                summary=new.summary,
                url=new.url,
                actor=actor,
                now_ms=now_ms,
            )
            change = model_changes.evaluation_recorded(
                version,
                new.evaluation,
                passed=new.passed,
                summary=new.summary,
                url=new.url,
                actor=actor,
                now_ms=now_ms,
            )
            await record_change(connection, change, clock=self._clock)
        self._wake()
