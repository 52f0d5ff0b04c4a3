"""Puts the parts of the service together that models and versions need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.api.import_service import ImportService
from runstream_registry.api.model_service import ModelService, ModelUseCases
from runstream_registry.models.evaluations import Evaluations
from runstream_registry.models.imports import Imports
from runstream_registry.models.lineage import Lineages
from runstream_registry.models.models import Models
from runstream_registry.models.sources import Sources
from runstream_registry.models.tags import Tags
from runstream_registry.models.version_batches import VersionBatcher
from runstream_registry.models.versions import Versions
from runstream_registry.search.searches import Searches

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_common.clock import Clock
    from runstream_common.database import Database
    from runstream_common.rpc.server import Registration

    from runstream_registry.models.lineage import RunReader
    from runstream_registry.models.sources import FileStore
    from runstream_registry.settings import RegistrySettings


class ModelParts:
    """The parts around models, versions, tags, searches and lineage.

    Args:
        runs: knows the facts of runs.
        files: copies and reads files.
        wake: tells the outbox relay of a commit.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        database: Database,
        clock: Clock,
        runs: RunReader,
        files: FileStore,
        wake: Callable[[], None],
    ) -> None:
        batcher = VersionBatcher(database, clock, wake, max_versions=settings.create_batch_versions)
        self.models = Models(database, clock, wake)
        self.versions = Versions(database, clock, wake, sources=Sources(database, files), batcher=batcher)
        self.searches = Searches(database)
        self.use_cases = ModelUseCases(
            models=self.models,
            versions=self.versions,
            tags=Tags(database, clock, wake),
            searches=self.searches,
            lineages=Lineages(database, runs),
            evaluations=Evaluations(database, clock, wake),
        )
        self.imports = Imports(database, clock, wake)
        self._max_message_bytes = settings.grpc_max_message_bytes

    def registration(self) -> Registration:
        """ModelService, ready to be served."""
        return ModelService(self.use_cases, max_message_bytes=self._max_message_bytes).registration()

    def import_registration(self) -> Registration:
        """ImportService, ready to be served."""
        return ImportService(self.imports).registration()
