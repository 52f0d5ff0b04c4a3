"""Fixtures of transfer tests: a deployment whose store can be made to fail, and a client of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from runstream.artifacts.client import Artifacts
from runstream.artifacts.settings import TransferSettings
from runstream.connection import Connection

from tests.support.fake_artifacts import FakeArtifacts

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = "ab" * 16


@pytest.fixture
def store() -> Iterator[FakeArtifacts]:
    """The deployment."""
    fake = FakeArtifacts()
    yield fake
    fake.stop()


@pytest.fixture
def artifacts(store: FakeArtifacts) -> Iterator[Artifacts]:
    """A client that gives up soon."""
    with Connection(store.url) as connection:
        client = Artifacts(
            connection, settings=TransferSettings(transfer_threads=4, transfer_retry_seconds=1)
        )
        yield client
        client.close()


def content_of(size: int, seed: int = 0) -> bytes:
    """Bytes that differ everywhere and from seed to seed."""
    block = b"".join(hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(-(-size // 32)))
    return block[:size]
