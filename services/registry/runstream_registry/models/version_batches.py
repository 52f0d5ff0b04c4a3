"""Creates versions, many in one transaction: calls that come while a transaction runs go together into the next one.

Numbers come from the model's counter under the lock of its row, so that they have no gaps and are never used again,
however many callers there are; nothing reads the versions that are there. What a call does wrong fails that call alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.errors import FieldViolation, InvalidArgument, PlatformError, Unavailable

from runstream_registry.changes import record_changes
from runstream_registry.entities import IS_PROMPT_TAG, PROMPT_SOURCES, is_prompt
from runstream_registry.errors import ModelNotFound, VersionIdTaken
from runstream_registry.models import model_changes
from runstream_registry.models.models import NewModel, insert_model
from runstream_registry.store import model_repository, version_queries, version_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.entities import Parent, Version
    from runstream_registry.store.model_repository import LockedModel

MAX_BATCH_CHARS = 8_000_000
"""Characters of tags of one batch: its audit entries, events and deliveries hold them too."""


@dataclass(frozen=True, slots=True)
class PreparedVersion:
    """A version to insert.

    Args:
        version: complete but for number, model id and times.
        repeatable: the id was chosen by the client, so it may be there already.
        new_model: the model to make when there is none of that name; None means that it must exist.
    """

    version: Version
    repeatable: bool
    new_model: NewModel | None


Outcome = tuple["Version", bool]
"""The version as stored, and whether this call created it."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    prepared: PreparedVersion
    done: asyncio.Future[Outcome]


class VersionBatcher:
    """Inserts versions.

    Args:
        wake: is called after each commit, so that its events leave at once.
        max_versions: most versions of one transaction.
    """

    def __init__(
        self, database: Database, clock: Clock, wake: Callable[[], None], *, max_versions: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._max_versions = max_versions
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def create(self, prepared: PreparedVersion) -> Outcome:
        """Insert a version with its audit entry, event and deliveries.

        Returns:
            The version, and whether it was created: a repeated call gets the one that is there.

        Raises:
            ModelNotFound: there is no such model.
            VersionIdTaken: the id belongs to another model or a deleted version.
            InvalidArgument: a parent does not exist, or a prompt and a model are mixed up.
        """
        waiting = _Waiting(prepared, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await waiting.done

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._insert_all(self._take())
        finally:
            self._working = None

    def _take(self) -> list[_Waiting]:
        """The next batch; callers that gave up are left out."""
        taken: list[_Waiting] = []
        chars = 0
        while self._waiting and len(taken) < self._max_versions and chars < MAX_BATCH_CHARS:
            waiting = self._waiting.pop(0)
            if not waiting.done.done():
                taken.append(waiting)
                chars += sum(map(len, waiting.prepared.version.tags.values()))
        return taken

    async def _insert_all(self, batch: Sequence[_Waiting]) -> None:
        """Insert a batch; when that fails as a whole, each by itself, so that the guilty one fails alone."""
        try:
            await self._insert(batch)
        except Exception as error:  # noqa: BLE001 - told to the callers
            if len(batch) == 1 or isinstance(error, Unavailable):
                for waiting in batch:
                    _fail(waiting, error)
                return
            for waiting in batch:
                await self._insert_all([waiting])

    async def _insert(self, batch: Sequence[_Waiting]) -> None:
        async with self._database.driver() as connection, connection.transaction():
            outcomes = await self._insert_in(connection, [waiting.prepared for waiting in batch])
        self._wake()
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, PlatformError):
                _fail(waiting, outcome)
            elif not waiting.done.done():
                waiting.done.set_result(outcome)

    async def _insert_in(
        self, connection: Connection, batch: Sequence[PreparedVersion]
    ) -> list[Outcome | PlatformError]:
        now_ms = self._clock.now_ms()
        models = await self._models(connection, batch, now_ms)
        chosen_ids = [item.version.version_id for item in batch if item.repeatable]
        numbering = _Numbering(
            models,
            await version_repository.select_owners(connection, chosen_ids),
            await version_repository.select_parents(
                connection, [p for item in batch for p in item.version.parents]
            ),
            now_ms,
        )
        outcomes = [numbering.number(item) for item in batch]
        created = sorted(numbering.created, key=lambda version: (version.name, version.version))
        if created:
            await version_repository.insert_versions(connection, created, numbering.parent_ids, now_ms)
            changes = [model_changes.version_created(version) for version in created]
            await record_changes(connection, changes, clock=self._clock)
        return [
            await _found(connection, item, outcome) for item, outcome in zip(batch, outcomes, strict=True)
        ]

    async def _models(
        self, connection: Connection, batch: Sequence[PreparedVersion], now_ms: int
    ) -> dict[str, LockedModel]:
        names = sorted({item.version.name for item in batch})
        models = await model_repository.lock_models(connection, names)
        missing = {
            item.version.name: item.new_model
            for item in batch
            if item.new_model is not None and item.version.name not in models
        }
        for _, new_model in sorted(missing.items()):
            await insert_model(connection, new_model, now_ms, self._clock)
        return models | await model_repository.lock_models(connection, sorted(missing)) if missing else models


class _Numbering:
    """Gives the versions of one transaction their numbers."""

    def __init__(
        self,
        models: dict[str, LockedModel],
        owners: dict[str, version_repository.Owner],
        parent_ids: dict[tuple[str, int], str],
        now_ms: int,
    ) -> None:
        self._models = models
        self._owners = owners
        self._last = {name: model.last_version for name, model in models.items()}
        self._now_ms = now_ms
        self.parent_ids = parent_ids
        self.created: list[Version] = []

    def number(self, prepared: PreparedVersion) -> Version | PlatformError | None:
        """The version to insert, why not, or None when its id is there already."""
        version = prepared.version
        if version.version_id in self._owners:
            owner = self._owners[version.version_id]
            return VersionIdTaken(version.version_id) if owner.deleted or owner.name != version.name else None
        model = self._models.get(version.name)
        refusal = ModelNotFound(version.name) if model is None else self._refusal(version, model)
        if refusal is not None or model is None:
            return refusal
        self._last[version.name] += 1
        numbered = dataclasses.replace(
            version,
            model_id=model.model_id,
            version=self._last[version.name],
            prompt=model.prompt,
            creation_time_ms=self._now_ms,
            last_updated_time_ms=self._now_ms,
        )
        self.created.append(numbered)
        self._owners[version.version_id] = version_repository.Owner(version.name, deleted=False)
        return numbered

    def _refusal(self, version: Version, model: LockedModel) -> PlatformError | None:
        missing = [
            parent for parent in version.parents if (parent.name, parent.version) not in self.parent_ids
        ]
        if missing:
            return _missing_parents(version.parents, missing)
        if model.prompt and version.source not in PROMPT_SOURCES:
            return InvalidArgument.of("source", f"{version.name!r} is a prompt; its versions have no files")
        if is_prompt(version.tags) and not model.prompt:
            return InvalidArgument.of(
                "tags", f"{version.name!r} is no prompt, so {IS_PROMPT_TAG} must not be set"
            )
        return None


async def _found(
    connection: Connection, prepared: PreparedVersion, outcome: Version | PlatformError | None
) -> Outcome | PlatformError:
    if isinstance(outcome, PlatformError):
        return outcome
    if outcome is not None:
        return outcome, True
    found = await version_queries.select_versions(connection, [prepared.version.version_id])
    return (found[0], False) if found else VersionIdTaken(prepared.version.version_id)


def _missing_parents(parents: Sequence[Parent], missing: Sequence[Parent]) -> InvalidArgument:
    return InvalidArgument(
        FieldViolation(f"parents[{index}]", f"version {parent.version} of {parent.name!r} does not exist")
        for index, parent in enumerate(parents)
        if parent in missing
    )


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)
