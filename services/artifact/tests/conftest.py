"""An artifact service in this process over real PostgreSQL, with each kind of object store, and a client that uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from runstream_artifact.settings import ArtifactSettings
from runstream_artifact.wiring import migrate
from runstream_common.object_store.api import MIN_PART_BYTES

from services.artifact.tests.support import Door, SteeredRuns, open_door
from tests.support.object_store import Sender, ShiftedClock, s3_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


def make_settings(database_url: str, object_store_url: str, **overrides: Any) -> ArtifactSettings:
    values: dict[str, Any] = {
        "database_url": database_url,
        "bus_url": database_url,
        "object_store_url": SecretStr(object_store_url),
        "grpc_host": "127.0.0.1",
        "grpc_port": 0,
        "artifact_http_host": "127.0.0.1",
        "artifact_http_port": 0,
        "multipart_threshold_bytes": MIN_PART_BYTES,
        "multipart_part_bytes": MIN_PART_BYTES,
        "shutdown_grace_seconds": 5,
    }
    return ArtifactSettings(**(values | overrides))


@pytest.fixture
async def local_settings(database_url: str, tmp_path: Path) -> ArtifactSettings:
    """Settings of a service over a migrated database and a folder."""
    settings = make_settings(database_url, f"file://{tmp_path}/objects")
    await migrate(settings)
    return settings


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
async def settings(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> ArtifactSettings:
    """Settings of a service over a migrated database and each kind of store."""
    if request.param == "local":
        url = f"file://{tmp_path}/objects"
    else:
        url = s3_url(request.getfixturevalue("s3_server"))
    settings = make_settings(database_url, url)
    await migrate(settings)
    return settings


@pytest.fixture
def clock() -> ShiftedClock:
    """The clock of service and store."""
    return ShiftedClock()


@pytest.fixture
def runs() -> SteeredRuns:
    """The owner of runs, which the test steers."""
    return SteeredRuns()


@pytest.fixture
def send() -> Iterator[Sender]:
    """Sends signed requests."""
    sender = Sender()
    yield sender
    sender.close()


@pytest.fixture
async def door(
    settings: ArtifactSettings, runs: SteeredRuns, clock: ShiftedClock, send: Sender
) -> AsyncIterator[Door]:
    """A running service with each kind of store."""
    async with open_door(settings, runs, clock, send) as opened:
        yield opened


@pytest.fixture
async def local_door(
    local_settings: ArtifactSettings, runs: SteeredRuns, clock: ShiftedClock, send: Sender
) -> AsyncIterator[Door]:
    """A running service with a folder, for what does not depend on the store."""
    async with open_door(local_settings, runs, clock, send) as opened:
        yield opened
