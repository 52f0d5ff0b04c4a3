"""Experiments as another deployment had them: with their ids, times and lifecycle stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.violations import Violations

from runstream_metadata import rules
from runstream_metadata.errors import ExperimentNotFound
from runstream_metadata.store import experiment_queries, experiment_repository, import_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_metadata.entities import Experiment, LifecycleStage

MAX_SEQUENTIAL_ID = 10**9
"""Ids above are not counted on from: MLflow's file store makes random ones of 18 digits."""


@dataclass(frozen=True, slots=True)
class ForeignExperiment:
    """An experiment of another deployment; an id of None or one that is taken is replaced by the next one."""

    name: str
    experiment_id: int | None
    artifact_location: str
    tags: Sequence[tuple[str, str]]
    creation_time_ms: int | None


class Imports:
    """What an importer does beyond the calls that everyone has.

    Args:
        artifact_root: see ``Experiments``.
    """

    def __init__(self, database: Database, clock: Clock, *, artifact_root: str) -> None:
        self._database = database
        self._clock = clock
        self._artifact_root = artifact_root.rstrip("/")

    async def experiment(self, foreign: ForeignExperiment) -> tuple[Experiment, bool]:
        """Create an experiment, unless one has its name.

        Returns:
            The experiment of that name, and whether it was created.

        Raises:
            InvalidArgument: name, location or tags are wrong.
        """
        violations = Violations()
        rules.experiment_name(foreign.name, violations)
        rules.artifact_location(foreign.artifact_location, violations)
        tags = rules.experiment_tags(list(foreign.tags), violations)
        violations.check()
        async with self._database.driver() as connection, connection.transaction():
            created = await self._insert(connection, foreign, dict(tags))
            found = await experiment_queries.select_by_name(connection, foreign.name)
        if found is None:
            raise ExperimentNotFound(f"experiment {foreign.name!r} was renamed meanwhile")
        return found, created

    async def amend(
        self,
        experiment_id: int,
        *,
        stage: LifecycleStage | None,
        creation_time_ms: int | None,
        last_update_time_ms: int | None,
    ) -> Experiment:
        """Set what is given.

        Raises:
            ExperimentNotFound: there is none.
        """
        async with self._database.driver() as connection:
            if not await import_statements.amend(
                connection, experiment_id, stage, creation_time_ms, last_update_time_ms
            ):
                raise ExperimentNotFound(f"there is no experiment {experiment_id}")
            return (await experiment_queries.select_experiments(connection, [experiment_id]))[0]

    async def _insert(self, connection: Connection, foreign: ForeignExperiment, tags: dict[str, str]) -> bool:
        time_ms = foreign.creation_time_ms or self._clock.now_ms()
        place = (foreign.name, foreign.artifact_location, self._artifact_root, tags, time_ms)
        wanted = foreign.experiment_id
        if wanted is not None and await import_statements.insert_with_id(connection, wanted, *place):
            if 1 <= wanted <= MAX_SEQUENTIAL_ID:
                await import_statements.advance_ids(connection, wanted)
            return True
        # Looked up first: the insert would draw an id from the sequence each time.
        if await experiment_queries.select_by_name(connection, foreign.name) is not None:
            return False
        return await experiment_repository.insert_experiment(connection, *place) is not None
