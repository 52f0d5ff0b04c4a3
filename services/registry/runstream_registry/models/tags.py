"""Sets and deletes tags of models and versions. What a prompt version says is kept in tags, and never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.changes import record_change
from runstream_registry.entities import IS_PROMPT_TAG, PROMPT_FIXED_TAGS
from runstream_registry.errors import PromptImmutable
from runstream_registry.models import model_changes
from runstream_registry.models.lookups import existing
from runstream_registry.models.models import locked_model
from runstream_registry.store import model_repository, version_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.entities import Version
    from runstream_registry.store.model_repository import LockedModel


class Tags:
    """Use cases around tags.

    Args:
        wake: is called after each commit, so that its event leaves at once.
    """

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake

    async def change(
        self, name: str, number: int, *, to_set: Mapping[str, str], to_delete: Collection[str], actor: str
    ) -> None:
        """Set and delete tags of a model, or of a version of it. Deleting a missing one is harmless.

        Neither the model's nor the version's time of the last update moves (MLflow).

        Args:
            number: of the version; 0 means the model itself.

        Raises:
            ModelNotFound, VersionNotFound: there is none.
            PromptImmutable: a tag that makes a prompt, or a prompt version, would change.
        """
        async with self._database.driver() as connection, connection.transaction():
            model = await locked_model(connection, name)
            version = await existing(connection, name, number) if number else None
            stored = await _stored(connection, model, version, [*to_set, *to_delete])
            changed = {key: value for key, value in to_set.items() if stored.get(key) != value}
            deleted = sorted(set(to_delete) & set(stored))
            if not changed and not deleted:
                return
            _check(model, version, [*changed, *deleted])
            await _write(connection, model, version, changed, deleted)
            change = model_changes.tags_changed(
                model,
                number,
                before={key: stored[key] for key in [*changed, *deleted] if key in stored},
                to_set=changed,
                deleted=deleted,
                actor=actor,
                now_ms=self._clock.now_ms(),
            )
            await record_change(connection, change, clock=self._clock)
        self._wake()


async def _stored(
    connection: Connection, model: LockedModel, version: Version | None, keys: Sequence[str]
) -> dict[str, str]:
    if version is None:
        return await model_repository.select_tags(connection, model.model_id, keys)
    return await version_repository.select_tags(connection, version.version_id, keys)


async def _write(
    connection: Connection,
    model: LockedModel,
    version: Version | None,
    to_set: Mapping[str, str],
    to_delete: Sequence[str],
) -> None:
    if version is None:
        await model_repository.change_tags(connection, model.model_id, to_set, to_delete)
    else:
        await version_repository.change_tags(connection, version.version_id, to_set, to_delete)


def _check(model: LockedModel, version: Version | None, keys: Collection[str]) -> None:
    """Refuse to turn a model into a prompt or back, and to change what a prompt version says."""
    if IS_PROMPT_TAG in keys:
        raise PromptImmutable(f"{IS_PROMPT_TAG} is set when {model.name!r} is created and never changes")
    fixed = PROMPT_FIXED_TAGS & set(keys)
    if version is not None and model.prompt and fixed:
        raise PromptImmutable(
            f"{', '.join(sorted(fixed))} of version {version.version} of prompt {model.name!r} cannot change; "
            "create another version"
        )
