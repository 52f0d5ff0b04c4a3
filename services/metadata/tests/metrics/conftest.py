"""Fixtures for tests of the metric path: the consumer and the readers over one migrated database."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from runstream_metadata.bus_progress import PartitionProgress
from runstream_metadata.consumers.run_logged import RunLoggedConsumer
from runstream_metadata.live import LiveHub
from runstream_metadata.metric_intake import MetricIntake
from runstream_metadata.metric_reads import MetricReads
from runstream_metadata.run_directory import RunDirectory
from runstream_metadata.watermarks import Watermarks

from services.metadata.tests.metrics.support import Offsets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runstream_common.clock import ManualClock
    from runstream_common.database import Database

    from services.metadata.tests.conftest import MakeRun


@pytest.fixture
async def run_id(make_run: MakeRun) -> str:
    """An active run of experiment 0."""
    return (await make_run()).run_id


@pytest.fixture
async def hub(database_url: str) -> AsyncIterator[LiveHub]:
    """A hub that listens."""
    hub = LiveHub(database_url)
    task = asyncio.create_task(hub.run())
    await hub.connected.wait()
    yield hub
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def directory(database: Database, clock: ManualClock) -> RunDirectory:
    """What the write path knows of runs."""
    return RunDirectory(database, clock)


@pytest.fixture
def consumer(database: Database, directory: RunDirectory, hub: LiveHub) -> RunLoggedConsumer:
    """The handler of run-logged."""
    return RunLoggedConsumer(MetricIntake(database, directory, hub))


@pytest.fixture
def reads(database: Database) -> MetricReads:
    """Use cases of reading."""
    return MetricReads(database)


@pytest.fixture
def watermarks(database: Database, hub: LiveHub, clock: ManualClock) -> Watermarks:
    """Progress, for a bus with partition offsets."""
    return Watermarks(database, hub, clock, PartitionProgress(database, clock))


@pytest.fixture
def offsets() -> Offsets:
    """Offsets of partition 0."""
    return Offsets()
