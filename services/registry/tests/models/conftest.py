"""Fixtures for tests of models: the use cases over a migrated database, with stand-ins for other services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from runstream_common.clock import ManualClock
from runstream_common.database import Database
from runstream_registry.model_wiring import ModelParts
from runstream_registry.settings import RegistrySettings

from services.registry.tests.models.support import MemoryFiles, MemoryRuns, Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def registry(database_url: str) -> AsyncIterator[Registry]:
    """A registry without models."""
    database = Database(database_url, schema="registry", pool_size=12)
    clock, files, runs, wakes = ManualClock(), MemoryFiles(), MemoryRuns(), list[None]()
    settings = RegistrySettings(database_url=database_url, bus_url=database_url)
    parts = ModelParts(settings, database, clock, runs, files, lambda: wakes.append(None))
    try:
        yield Registry(database, clock, files, runs, parts.use_cases, wakes)
    finally:
        await database.stop()
