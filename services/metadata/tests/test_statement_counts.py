"""C1: a page of runs costs the same number of statements whatever its size, and hot calls take one round trip."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from asyncpg.connection import Connection
from runstream_metadata.entities import Dataset, DatasetInput, RunStatus
from runstream_metadata.runs import RunUpdate
from runstream_metadata.search import RunSearch


@pytest.fixture
def count_statements(monkeypatch):
    """Counts what is sent to the database inside the block."""
    sent: list[str] = []
    original = Connection._execute

    async def counted(self, query, *arguments, **options):
        sent.append(query)
        return await original(self, query, *arguments, **options)

    @contextmanager
    def counting():
        sent.clear()
        yield sent

    monkeypatch.setattr(Connection, "_execute", counted)
    return counting


async def filled(make_run, run_data, database, number):
    run = await make_run(params={"p": "1"}, tags={"t": "1"}, start_time_ms=number)
    await run_data.log_inputs(run.run_id, [DatasetInput(Dataset("d", "1", "local", ""))])
    async with database.driver() as connection:
        await connection.execute(
            "INSERT INTO metadata.latest_metric (run_id, key, experiment_id, value, step, timestamp_ms)"
            " VALUES ($1, 'loss', 0, 0.5, 1, 1), ($1, 'acc', 0, 'NaN', 2, 2)",
            run.run_id,
        )
    return run


async def test_a_page_takes_one_statement_whatever_its_size(
    make_run, run_data, runs, database, count_statements
):
    made = [await filled(make_run, run_data, database, number) for number in range(20)]
    sizes = {}
    for size in (1, 20):
        with count_statements() as sent:
            page = await runs.get_many([run.run_id for run in made[:size]])
        sizes[size] = len(sent)
        assert len(page) == size
        assert all([metric.key for metric in run.metrics] == ["acc", "loss"] for run in page)

    assert sizes == {1: 1, 20: 1}


async def test_a_search_takes_no_statement_per_run(make_run, run_data, runs, database, count_statements):
    for number in range(20):
        await filled(make_run, run_data, database, number)
    counts = []
    for page_size in (1, 20):
        with count_statements() as sent:
            page, _ = await runs.search(RunSearch([0], page_size=page_size), summaries_only=False)
        assert len(page) == page_size
        counts.append(len(sent))

    assert counts[0] == counts[1]


async def test_hot_calls_take_one_round_trip(make_run, run_data, runs, count_statements):
    run = await make_run()
    with count_statements() as sent:
        await make_run(params={f"p{number}": "1" for number in range(5)})
    assert len(sent) == 1
    with count_statements() as sent:
        await run_data.log_batch(run.run_id, [("p", "1")], [("t", "1")])
    assert len(sent) == 1
    with count_statements() as sent:
        await runs.check([run.run_id])
    assert len(sent) == 1
    with count_statements() as sent:
        await runs.update(run.run_id, RunUpdate(status=RunStatus.FINISHED))
    assert len(sent) == 2
