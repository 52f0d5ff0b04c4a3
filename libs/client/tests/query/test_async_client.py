"""The async client: the same flows, awaited."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from runstream.query.async_client import AsyncClient
from runstream.query.client import Client
from runstream_common.errors import NotFound

RUN = f"{1:032x}"


@pytest.fixture
async def async_client(deployment):
    async with AsyncClient(deployment.url) as client:
        yield client


async def test_reads_runs_and_pages(async_client):
    assert (await async_client.get_run(RUN)).run_name == "run-1"
    names = [run.run_name async for run in async_client.search_runs("digits", page_size=2)]
    assert names == ["run-0", "run-1", "run-2"]
    assert len(await async_client.run_table("digits", limit=2)) == 2


async def test_reads_a_history(async_client, deployment):
    _, _, values = deployment.store.add_history(RUN, "loss", 2500)
    assert np.array_equal((await async_client.metric_history(RUN, "loss")).values, values)


async def test_errors_come_as_platform_errors(async_client):
    with pytest.raises(NotFound) as caught:
        await async_client.get_run("f" * 32)
    assert caught.value.reason == "RUN_NOT_FOUND"


async def test_an_experiment_named_like_a_number_is_found(async_client):
    await async_client.create_experiment("2024")
    assert (await async_client.get_experiment("2024")).experiment_id == "2"


async def test_leaving_a_watch_frees_the_server(async_client, deployment):
    deployment.store.runs[RUN].ClearField("end_time_ms")
    watch = async_client.watch_run(RUN)
    assert (await anext(watch)).run_id == RUN
    await watch.aclose()
    assert deployment.store.left.wait(10)


def test_both_clients_offer_the_same_methods_and_arguments():
    def surface(kind):
        methods = {
            name: m for name, m in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")
        }
        return {name: list(inspect.signature(method).parameters) for name, method in methods.items()}

    assert surface(AsyncClient) == surface(Client)
