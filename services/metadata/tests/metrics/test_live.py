"""Wake-ups: in this process, from others, and after a lost connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runstream_contract.ids import new_run_id
from runstream_metadata.live import ALL_RUNS, MAX_NAMED_RUNS, LiveHub, payload_for

if TYPE_CHECKING:
    from runstream_common.database import Database

LONG_SECONDS = 30.0


async def test_only_those_who_watch_are_woken(database_url: str) -> None:
    hub = LiveHub(database_url)
    mine, other = new_run_id(), new_run_id()
    with hub.watch_runs([mine]) as watch, hub.watch_runs([other]) as bystander:
        hub.wake([mine])
        assert await watch.wait(LONG_SECONDS)
        assert not await bystander.wait(0)
        assert not await watch.wait(0), "a wake-up counts once"
    hub.wake([mine])
    assert not await watch.wait(0)


async def test_a_change_is_heard_by_other_processes_at_commit(
    hub: LiveHub, database: Database, database_url: str
) -> None:
    run_id = new_run_id()
    with hub.watch_runs([run_id]) as watch, hub.watch_progress() as progress:
        async with database.transaction() as session:
            await LiveHub(database_url).announce(session, [run_id, new_run_id()])
        assert await watch.wait(LONG_SECONDS)
        assert await progress.wait(LONG_SECONDS)


async def test_many_changes_wake_everyone(hub: LiveHub, database: Database) -> None:
    assert payload_for(new_run_id() for _ in range(MAX_NAMED_RUNS + 1)) == ALL_RUNS
    assert len(payload_for(new_run_id() for _ in range(MAX_NAMED_RUNS))) < 8_000
    with hub.watch_runs([new_run_id()]) as watch:
        async with database.transaction() as session:
            await hub.announce(session, [new_run_id() for _ in range(MAX_NAMED_RUNS + 1)])
        assert await watch.wait(LONG_SECONDS)


async def test_a_lost_connection_is_replaced_and_everyone_looks(hub: LiveHub, database: Database) -> None:
    """C6: what happened while nobody listened is not missed."""
    with hub.watch_runs([new_run_id()]) as watch:
        async with database.driver() as connection:
            killed = await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'runstream-metadata-live' AND datname = current_database()"
            )
        assert len(killed) == 1
        assert await watch.wait(LONG_SECONDS)
        await asyncio.wait_for(hub.connected.wait(), LONG_SECONDS)
