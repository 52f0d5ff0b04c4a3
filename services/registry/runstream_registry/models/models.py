"""Registered models and prompts: create, read, describe, rename, delete. A use case owns its transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from runstream_registry.changes import record_change
from runstream_registry.entities import Model, is_prompt
from runstream_registry.errors import ModelNameTaken, ModelNotFound
from runstream_registry.models import model_changes
from runstream_registry.store import model_queries, model_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.store.model_repository import LockedModel

CREATE_ATTEMPTS = 3
"""A name that is taken may be free again when it is looked up: its model was deleted in between."""


@dataclass(frozen=True, slots=True)
class NewModel:
    """What a model is created from; checked by ``rules``."""

    name: str
    actor: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class Models:
    """Use cases around models.

    Args:
        wake: is called after each commit, so that its event leaves at once.
    """

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake

    async def create(self, new: NewModel, *, get_if_exists: bool = False) -> tuple[Model, bool]:
        """Create a model, a prompt if its tags say so.

        Returns:
            The model, and whether it was created.

        Raises:
            ModelNameTaken: a model or prompt has the name, and ``get_if_exists`` is not set.
        """
        async with self._database.driver() as connection:
            for _ in range(CREATE_ATTEMPTS):
                created = await self._insert(connection, new)
                model = await model_queries.select_by_name(connection, new.name)
                if created:
                    self._wake()
                if model is not None:
                    if not created and not get_if_exists:
                        raise ModelNameTaken(new.name, prompt=model.prompt)
                    return model, created
        raise ModelNotFound(new.name)

    async def get(self, name: str) -> Model:
        """A model with everything.

        Raises:
            ModelNotFound: there is none.
        """
        async with self._database.driver() as connection:
            model = await model_queries.select_by_name(connection, name)
        if model is None:
            raise ModelNotFound(name)
        return model

    async def update(self, name: str, description: str, *, actor: str) -> Model:
        """Set the description; an empty one clears it (MLflow).

        Raises:
            ModelNotFound: there is none.
        """
        now_ms = self._clock.now_ms()
        async with self._database.driver() as connection, connection.transaction():
            model = await locked_model(connection, name)
            if model.description != description:
                await model_repository.update_description(connection, model.model_id, description, now_ms)
                change = model_changes.model_updated(model, description, actor, now_ms)
                await record_change(connection, change, clock=self._clock)
        self._wake()
        return await self.get(name)

    async def rename(self, name: str, new_name: str, *, actor: str) -> Model:
        """Give a model another name; versions, tags, aliases and history go along.

        Raises:
            ModelNotFound: there is none.
            ModelNameTaken: another one has the new name.
        """
        async with self._database.driver() as connection:
            try:
                async with connection.transaction():
                    await self._rename(connection, name, new_name, actor)
            except asyncpg.UniqueViolationError as error:
                taken = await model_queries.select_by_name(connection, new_name)
                raise ModelNameTaken(new_name, prompt=taken is not None and taken.prompt) from error
        self._wake()
        return await self.get(new_name)

    async def delete(self, name: str, *, actor: str) -> None:
        """Delete a model with its versions and aliases. Its name is free at once; a new model of that name starts at 1.

        Raises:
            ModelNotFound: there is none.
        """
        now_ms = self._clock.now_ms()
        async with self._database.driver() as connection, connection.transaction():
            model = await locked_model(connection, name)
            await model_repository.mark_deleted(connection, model.model_id, now_ms)
            change = model_changes.model_deleted(model, actor, now_ms)
            await record_change(connection, change, clock=self._clock)
        self._wake()

    async def _insert(self, connection: Connection, new: NewModel) -> bool:
        now_ms = self._clock.now_ms()
        async with connection.transaction():
            return await insert_model(connection, new, now_ms, self._clock) is not None

    async def _rename(self, connection: Connection, name: str, new_name: str, actor: str) -> None:
        now_ms = self._clock.now_ms()
        model = await locked_model(connection, name)
        if new_name == name:
            return
        await model_repository.rename(connection, model.model_id, new_name, now_ms)
        change = model_changes.model_renamed(model, new_name, actor, now_ms)
        await record_change(connection, change, clock=self._clock)


async def insert_model(connection: Connection, new: NewModel, now_ms: int, clock: Clock) -> int | None:
    """Insert and record a model in the caller's transaction; its id, or None when the name is taken."""
    prompt = is_prompt(new.tags)
    model_id = await model_repository.insert_model(
        connection, new.name, prompt=prompt, description=new.description, tags=new.tags, now_ms=now_ms
    )
    if model_id is not None:
        change = model_changes.model_created(
            model_id,
            new.name,
            prompt=prompt,
            tags=new.tags,
            description=new.description,
            actor=new.actor,
            now_ms=now_ms,
        )
        await record_change(connection, change, clock=clock)
    return model_id


async def locked_model(connection: Connection, name: str) -> LockedModel:
    """The model, locked until the caller's transaction ends.

    Raises:
        ModelNotFound: there is none.
    """
    model = await model_repository.lock_model(connection, name)
    if model is None:
        raise ModelNotFound(name)
    return model
