"""`AsyncClient.artifacts` has what `Client.artifacts` has."""

from __future__ import annotations

import inspect

import pytest
import runstream
from runstream.artifacts.async_client import AsyncArtifacts
from runstream.artifacts.client import Artifacts

from libs.client.tests.artifacts.conftest import RUN, content_of


def test_both_have_the_same_methods_with_the_same_parameters():
    blocking = {name: m for name, m in vars(Artifacts).items() if not name.startswith("_")}
    awaited = {name: m for name, m in vars(AsyncArtifacts).items() if not name.startswith("_")}
    assert set(blocking) - set(awaited) == {"open"}  # files are read by blocking calls
    assert set(awaited) <= set(blocking)
    for name, method in awaited.items():
        assert inspect.signature(method).parameters == inspect.signature(blocking[name]).parameters, name


async def test_files_travel_both_ways(store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large").write_bytes(content_of(9000))
    async with runstream.AsyncClient(store.url) as client:
        files = client.artifacts
        done = await files.upload(tmp_path / "in", RUN, "a", progress=False)
        assert done.sent_bytes == 9000
        await files.upload_bytes(b"x", RUN, "b")
        assert [item.path async for item in files.list(RUN)] == ["a", "b"]
        assert [item.path async for item in files.list(RUN, recursive=True)] == ["a/large", "b"]
        assert (await files.stat(RUN, "b")).size_bytes == 1
        assert await files.read_bytes(RUN, "a/large", offset=5, length=5) == content_of(9000)[5:10]
        await files.download(RUN, to=tmp_path / "out", progress=False)
        assert await files.exists(RUN, "b")
        assert await files.delete(RUN, "b") == 1
        assert not await files.exists(RUN, "b")
    assert (tmp_path / "out" / "a" / "large").read_bytes() == content_of(9000)


async def test_errors_arrive(store, tmp_path):
    async with runstream.AsyncClient(store.url) as client:
        with pytest.raises(FileNotFoundError):
            await client.artifacts.upload(tmp_path / "missing", RUN)
