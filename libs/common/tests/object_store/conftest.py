"""The same store in a folder and in a real S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.object_store import Sender, ShiftedClock, local_store, s3_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from runstream_common.object_store.api import ObjectStore
    from runstream_common.object_store.local import LocalStore


@pytest.fixture
def clock() -> ShiftedClock:
    """The clock of the stores."""
    return ShiftedClock()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ShiftedClock
) -> AsyncIterator[ObjectStore]:
    """Each kind of store, started."""
    made: ObjectStore
    if request.param == "local":
        made = local_store(tmp_path / "objects", clock=clock)
    else:
        made = s3_store(request.getfixturevalue("s3_server"), clock=clock)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def local(tmp_path: Path, clock: ShiftedClock) -> AsyncIterator[LocalStore]:
    """A store in the folder `tmp_path / "objects"`, started."""
    made = local_store(tmp_path / "objects", clock=clock)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def send() -> Iterator[Sender]:
    """Sends signed requests."""
    sender = Sender()
    yield sender
    sender.close()
