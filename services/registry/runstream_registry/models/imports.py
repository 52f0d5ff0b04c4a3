"""Models as another deployment had them: numbers of versions, times, who registered. A use case owns its transaction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from runstream_registry.change_entities import Change, model_chain
from runstream_registry.changes import record_change
from runstream_registry.models.lookups import existing
from runstream_registry.models.models import locked_model
from runstream_registry.store import import_repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_common.clock import Clock
    from runstream_common.database import Database


@dataclass(frozen=True, slots=True)
class ForeignFacts:
    """What a model or version had elsewhere; None and an empty user are left as they are."""

    creation_time_ms: int | None = None
    last_updated_time_ms: int | None = None
    user_id: str = ""


class Imports:
    """What an importer does beyond the calls that everyone has.

    Args:
        wake: is called after each commit, so that its event leaves at once.
    """

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake

    async def reserve_versions(self, name: str, up_to_version: int) -> int:
        """Take version numbers out of use; returns the last one that was given or taken out.

        Raises:
            ModelNotFound: there is no such model.
        """
        async with self._database.driver() as connection, connection.transaction():
            model = await locked_model(connection, name)
            return await import_repository.reserve_versions(connection, model.model_id, up_to_version)

    async def amend(self, name: str, number: int, facts: ForeignFacts, *, actor: str) -> None:
        """Set the facts of a model (number 0) or a version; the audit trail tells of it.

        Raises:
            ModelNotFound, VersionNotFound: there is none.
        """
        now_ms = self._clock.now_ms()
        async with self._database.driver() as connection, connection.transaction():
            model = await locked_model(connection, name)
            times = (facts.creation_time_ms, facts.last_updated_time_ms)
            if number:
                version = await existing(connection, name, number)
                await import_repository.amend_version(connection, version.version_id, *times, facts.user_id)
            else:
                await import_repository.amend_model(connection, model.model_id, *times)
            change = Change(
                chain=model_chain(model.model_id),
                action="facts.imported",
                subject=name,
                actor=actor,
                version=number,
                after=asdict(facts),
                time_ms=now_ms,
            )
            await record_change(connection, change, clock=self._clock)
        self._wake()
