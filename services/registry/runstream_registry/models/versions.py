"""Versions of models: create, read, resolve, change, delete. A use case owns its transaction."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_contract.ids import new_batch_id

from runstream_registry.changes import record_change
from runstream_registry.entities import (
    IS_PROMPT_TAG,
    PROMPT_SOURCES,
    Version,
    VersionStatus,
    is_prompt,
)
from runstream_registry.errors import ModelNotFound, VersionIdTaken
from runstream_registry.models import model_changes
from runstream_registry.models.lookups import existing, existing_version
from runstream_registry.models.models import NewModel, locked_model
from runstream_registry.models.source_uris import ExternalFiles
from runstream_registry.models.sources import source_of
from runstream_registry.models.version_batches import PreparedVersion
from runstream_registry.store import model_queries, model_repository, version_queries, version_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.entities import NewVersion, ResolvedVersion, Selector, Stage
    from runstream_registry.models.sources import SourceFacts, Sources
    from runstream_registry.models.version_batches import VersionBatcher


@dataclass(frozen=True, slots=True)
class VersionUpdate:
    """What to change of a version; None means unchanged.

    Args:
        clear_description: take it away.
    """

    description: str | None = None
    clear_description: bool = False
    signature_json: str | None = None
    flavors_json: str | None = None
    status: VersionStatus | None = None


class Versions:
    """Use cases around versions.

    Args:
        wake: is called after each commit, so that its event leaves at once.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        wake: Callable[[], None],
        *,
        sources: Sources,
        batcher: VersionBatcher,
    ) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._sources = sources
        self._batcher = batcher

    async def create(self, new: NewVersion) -> tuple[Version, bool]:
        """Register the next version of a model, usable at once.

        Returns:
            The version, and whether it was created: the same ``version_id`` again returns the one that is there.

        Raises:
            ModelNotFound: there is no such model, and ``create_model`` is not set.
            InvalidArgument, SourceNotFound, NoFiles, Unavailable: see ``Sources.settle``.
            VersionIdTaken: the id belongs to another model or a deleted version.
        """
        if is_prompt(new.tags) != (new.source in PROMPT_SOURCES):
            raise _wrong_prompt_source(new)
        if not isinstance(source_of(new), ExternalFiles):
            registered = await self._before_copying(new)
            if registered is not None:
                return registered, False
        version_id = new.version_id or new_batch_id().replace("-", "")
        facts = await self._sources.settle(new, version_id)
        return await self._batcher.create(_prepared(new, version_id, facts))

    async def get(self, name: str, selector: Selector) -> Version:
        """A version with everything.

        Raises:
            ModelNotFound, VersionNotFound: there is none.
            AliasNotFound: the model has no such alias (an invalid argument, as in MLflow).
        """
        async with self._database.driver() as connection:
            found, version = await version_queries.select_version(connection, name, selector)
        return existing_version(name, selector, found, version)

    async def resolve(self, name: str, selector: Selector) -> ResolvedVersion:
        """Where the files of a version are, at the least cost; raises as ``get``."""
        async with self._database.driver() as connection:
            found, version = await version_queries.resolve_version(connection, name, selector)
        return existing_version(name, selector, found, version)

    async def latest(self, name: str, stages: Collection[Stage]) -> list[Version]:
        """The highest version of each of the stages, of all stages if none is given; by version.

        Raises:
            ModelNotFound: there is no such model.
        """
        async with self._database.driver() as connection:
            model = await model_queries.select_by_name(connection, name)
        if model is None:
            raise ModelNotFound(name)
        return [version for version in model.latest_versions if not stages or version.stage in stages]

    async def update(self, name: str, number: int, update: VersionUpdate, *, actor: str) -> Version:
        """Change what is given; the time of the last update moves (MLflow).

        Raises:
            ModelNotFound, VersionNotFound: there is none.
        """
        changes = {key: value for key, value in dataclasses.asdict(update).items() if value is not None}
        if changes.pop("clear_description"):
            changes["description"] = None
        async with self._database.driver() as connection, connection.transaction():
            await locked_model(connection, name)
            version = await existing(connection, name, number)
            updated = dataclasses.replace(version, **changes)
            if updated == version:
                return version
            updated = dataclasses.replace(updated, last_updated_time_ms=self._clock.now_ms())
            await version_repository.update_version(connection, updated)
            change = model_changes.version_updated(version, updated, actor)
            await record_change(connection, change, clock=self._clock)
        self._wake()
        return updated

    async def delete(self, name: str, number: int, *, actor: str) -> None:
        """Delete a version and the aliases that point at it. Its number is not used again.

        Raises:
            ModelNotFound, VersionNotFound: there is none.
        """
        now_ms = self._clock.now_ms()
        async with self._database.driver() as connection, connection.transaction():
            await locked_model(connection, name)
            version = await existing(connection, name, number)
            aliases = await version_repository.mark_deleted(connection, version.version_id, now_ms)
            change = model_changes.version_deleted(version, sorted(aliases), actor, now_ms)
            await record_change(connection, change, clock=self._clock)
        self._wake()

    async def delete_alias(self, name: str, alias: str, *, actor: str) -> None:
        """Delete an alias; a missing one is harmless (MLflow).

        Raises:
            ModelNotFound: there is no such model.
        """
        now_ms = self._clock.now_ms()
        async with self._database.driver() as connection, connection.transaction():
            model = await locked_model(connection, name)
            version = await model_repository.delete_alias(connection, model.model_id, alias)
            if version is None:
                return
            change = model_changes.alias_deleted(model, alias, version, actor, now_ms)
            await record_change(connection, change, clock=self._clock)
        self._wake()

    async def _before_copying(self, new: NewVersion) -> Version | None:
        """Spare a copy that would be for nothing: the version that is there already, if there is one."""
        async with self._database.driver() as connection:
            if new.version_id:
                owners = await version_repository.select_owners(connection, [new.version_id])
                if new.version_id in owners:
                    found = await version_queries.select_versions(connection, [new.version_id])
                    if not found or found[0].name != new.name:
                        raise VersionIdTaken(new.version_id)
                    return found[0]
            if not new.create_model and await model_queries.select_by_name(connection, new.name) is None:
                raise ModelNotFound(new.name)
        return None


def _prepared(new: NewVersion, version_id: str, facts: SourceFacts) -> PreparedVersion:
    version = Version(
        version_id=version_id,
        model_id=0,
        name=new.name,
        version=0,
        prompt=False,
        source=facts.source,
        artifacts=facts.artifacts,
        creation_time_ms=0,
        last_updated_time_ms=0,
        status_message=facts.problem,
        run_id=facts.run_id,
        logged_model_id=facts.logged_model_id,
        run_link=new.run_link,
        description=new.description,
        user_id=new.actor,
        signature_json=facts.signature_json,
        flavors_json=facts.flavors_json,
        tags=new.tags,
        parents=facts.parents,
        storage_location=new.storage_location,
    )
    return PreparedVersion(version, bool(new.version_id), _new_model(new) if new.create_model else None)


def _new_model(new: NewVersion) -> NewModel:
    """The model to make; that of a prompt version is a prompt."""
    tags = dict(new.model_tags)
    if is_prompt(new.tags):
        tags[IS_PROMPT_TAG] = "true"
    return NewModel(new.name, new.actor, tags=dict(sorted(tags.items())))


def _wrong_prompt_source(new: NewVersion) -> InvalidArgument:
    allowed = " or ".join(sorted(PROMPT_SOURCES))
    if is_prompt(new.tags):
        return InvalidArgument.of("source", f"of a prompt version must be {allowed}")
    return InvalidArgument.of(
        "source", f"{new.source} is for prompts; their tag {IS_PROMPT_TAG} must be 'true'"
    )
