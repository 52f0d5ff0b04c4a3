"""Fixtures for tests of the metadata service: a migrated database and the use cases over it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from runstream_common.clock import ManualClock
from runstream_common.database import Database
from runstream_common.migrations import run_migrations
from runstream_contract.ids import new_run_id
from runstream_metadata.entities import NewRun, Run
from runstream_metadata.experiments import Experiments
from runstream_metadata.leases import Leases
from runstream_metadata.run_creation import complete_new_run
from runstream_metadata.run_data import RunData
from runstream_metadata.runs import Runs
from runstream_proto.events.v1.run_changed_pb2 import RunChanged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MakeRun = Callable[..., Awaitable[Run]]
ReadEvents = Callable[[], Awaitable[list[RunChanged]]]


@dataclass
class Told:
    """Stands in for those who are told of changed runs."""

    run_ids: list[str] = field(default_factory=list)

    def __call__(self, run_ids: Sequence[str]) -> None:
        self.run_ids.extend(run_ids)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The service's database, migrated and empty but for the experiment "Default"."""
    database = Database(database_url, schema="metadata", pool_size=12)
    try:
        await run_migrations(database, "runstream_metadata")
        yield database
    finally:
        await database.stop()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until it is moved."""
    return ManualClock()


@pytest.fixture
def told() -> Told:
    """Ids of the runs that listeners were told of."""
    return Told()


@pytest.fixture
def experiments(database: Database, clock: ManualClock, told: Told) -> Experiments:
    """Use cases around experiments."""
    return Experiments(database, clock, told, artifact_root="mlflow-artifacts:")


@pytest.fixture
def runs(database: Database, clock: ManualClock, told: Told) -> Runs:
    """Use cases around runs."""
    return Runs(database, clock, told)


@pytest.fixture
def run_data(database: Database, clock: ManualClock, told: Told) -> RunData:
    """Use cases that add to runs."""
    return RunData(database, clock, told)


@pytest.fixture
def leases(database: Database, clock: ManualClock, told: Told) -> Leases:
    """Use cases around leases."""
    return Leases(database, clock, told)


@pytest.fixture
def make_run(runs: Runs) -> MakeRun:
    """Creates runs: ``await make_run(params={...})``."""

    async def make(**overrides: Any) -> Run:
        plain = NewRun(
            run_id=new_run_id(),
            experiment_id=0,
            name="",
            user_id="",
            start_time_ms=0,
            tags={},
            params={},
            lease_ms=None,
            parent_run_id="",
        )
        run, _ = await runs.create(complete_new_run(dataclasses.replace(plain, **overrides)))
        return run

    return make


@pytest.fixture
def events(database: Database) -> ReadEvents:
    """Reads what lies in the outbox: ``await events()``, oldest first."""

    async def read() -> list[RunChanged]:
        async with database.driver() as connection:
            rows = await connection.fetch("SELECT payload FROM metadata.outbox ORDER BY id")
        return [RunChanged.FromString(row["payload"]) for row in rows]

    return read
