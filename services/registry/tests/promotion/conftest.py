"""Fixtures for tests of promotions: the use cases over a migrated database, with stand-ins for other services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from runstream_common.clock import ManualClock
from runstream_common.database import Database
from runstream_contract.limits import MAX_MESSAGE_BYTES
from runstream_registry.promotion_wiring import PromotionParts

from services.registry.tests.promotion.support import FakeFiles, FakeRuns, Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def registry(database_url: str) -> AsyncIterator[Registry]:
    """A registry without models."""
    database = Database(database_url, schema="registry", pool_size=20)
    clock, runs, files, wakes = ManualClock(), FakeRuns(), FakeFiles(), list[None]()
    parts = PromotionParts(
        database, clock, runs, files, lambda: wakes.append(None), max_message_bytes=MAX_MESSAGE_BYTES
    )
    try:
        yield Registry(database, clock, runs, files, parts, wakes)
    finally:
        await database.stop()
