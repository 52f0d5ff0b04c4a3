"""Asking the metadata service about runs."""

from __future__ import annotations

import grpc
from runstream_registry.metadata_client import MetadataClient


async def test_runs_that_cannot_be_ours_are_not_asked_for() -> None:
    # Nothing listens there: a call would be refused as unavailable.
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        assert await MetadataClient(channel).runs(["abc", "not-hexadecimal"]) == {}
