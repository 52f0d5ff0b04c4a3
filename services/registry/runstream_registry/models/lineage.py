"""Where a version came from and where it went: run, datasets and code, ancestors, descendants, promotions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog
from runstream_common.errors import PlatformError
from runstream_contract.names import is_run_id

from runstream_registry.models.lookups import existing
from runstream_registry.store import lineage_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.database import Database

    from runstream_registry.entities import PromotionFact, Relative, RunFacts, Version

log = structlog.get_logger(__name__)

DEFAULT_DEPTH = 5
MAX_DEPTH = 20
MAX_RELATIVES = 1_000
"""Most ancestors, descendants or promotions of one answer."""


class RunReader(Protocol):
    """Knows the facts of runs."""

    async def run(self, run_id: str) -> RunFacts | None:
        """Facts of a run; None when it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Lineage:
    """A version's lineage.

    Args:
        run: None when the version has none, or when the metadata service does not know it or is away.
    """

    version: Version
    run: RunFacts | None
    ancestors: Sequence[Relative]
    descendants: Sequence[Relative]
    promotions: Sequence[PromotionFact]


class Lineages:
    """Reads lineages."""

    def __init__(self, database: Database, runs: RunReader) -> None:
        self._database = database
        self._runs = runs

    async def get(self, name: str, number: int, *, depth: int) -> Lineage:
        """The lineage of a version.

        Args:
            depth: generations of parents and children, 1 to MAX_DEPTH.

        Raises:
            ModelNotFound, VersionNotFound: there is none.
        """
        async with self._database.driver() as connection:
            version = await existing(connection, name, number)
            ancestors = await lineage_queries.select_ancestors(
                connection, version.version_id, depth=depth, limit=MAX_RELATIVES
            )
            descendants = await lineage_queries.select_descendants(
                connection, version.version_id, depth=depth, limit=MAX_RELATIVES
            )
            promotions = await lineage_queries.select_promotions(
                connection, version.model_id, number, limit=MAX_RELATIVES
            )
        return Lineage(version, await self._run(version.run_id), ancestors, descendants, promotions)

    async def _run(self, run_id: str) -> RunFacts | None:
        # A run of another deployment may have any id.
        if not is_run_id(run_id):
            return None
        try:
            return await self._runs.run(run_id)
        except PlatformError as error:
            log.warning("lineage_without_run", run_id=run_id, reason=error.reason)
            return None
