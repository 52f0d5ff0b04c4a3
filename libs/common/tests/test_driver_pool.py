"""Connections of the driver: bounded, reused, and never given on in the middle of something."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from runstream_common.database import Database
from runstream_common.driver_pool import DriverPool
from runstream_common.errors import Unavailable


@pytest.fixture
async def database(database_url):
    database = Database(database_url, schema="public", pool_size=2, pool_timeout_seconds=0.1)
    yield database
    await database.stop()


async def backend(connection) -> int:
    return await connection.fetchval("SELECT pg_backend_pid()")


async def test_a_connection_is_used_again(database):
    seen = set()
    for _ in range(5):
        async with database.driver() as connection:
            seen.add(await backend(connection))

    assert len(seen) == 1


async def test_there_are_no_more_than_its_size(database):
    async with database.driver() as one, database.driver() as two:
        assert await backend(one) != await backend(two)
        with pytest.raises(Unavailable) as refused:
            async with database.driver():
                pass

    assert refused.value.reason == "DATABASE_BUSY"
    async with database.driver() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_waiter_gets_the_next_free_one(database):
    release = asyncio.Event()

    async def hold():
        async with database.driver():
            await release.wait()

    holders = [asyncio.create_task(hold()) for _ in range(2)]
    await asyncio.sleep(0)

    async def use():
        async with database.driver() as connection:
            return await connection.fetchval("SELECT 1")

    waiting = asyncio.create_task(use())
    await asyncio.sleep(0)
    release.set()

    assert await waiting == 1
    await asyncio.gather(*holders)


async def test_a_transaction_left_open_is_rolled_back(database):
    async with database.driver() as connection:
        await connection.execute("CREATE TABLE t (x int)")
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO t VALUES (1)")

    async with database.driver() as connection:
        assert await connection.fetchval("SELECT count(*) FROM t") == 0


async def test_a_statement_that_was_cancelled_disturbs_nobody(database):
    async def slow():
        async with database.driver() as connection:
            await connection.fetchval("SELECT pg_sleep(60)")

    task = asyncio.create_task(slow())
    async with database.driver() as connection:
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
        ):
            pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with database.driver() as one, database.driver() as two:
        assert [await one.fetchval("SELECT 1"), await two.fetchval("SELECT 2")] == [1, 2]


async def test_a_connection_that_the_server_closed_is_replaced(database):
    async with database.driver() as connection:
        killed = await backend(connection)
    async with database.driver() as kept, database.driver() as killer:
        assert await backend(kept) == killed
        await killer.execute("SELECT pg_terminate_backend($1)", killed)
        # What the driver says depends on how far it has noticed.
        with pytest.raises(
            (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
        ):
            await backend(kept)

    async with database.driver() as one, database.driver() as two:
        assert killed not in {await backend(one), await backend(two)}


async def test_what_comes_back_after_the_end_is_closed(database_url):
    async def connect():
        return await asyncpg.connect(database_url.replace("+asyncpg", ""))

    pool = DriverPool(connect, size=1, timeout_seconds=1)
    async with pool.acquire() as connection:
        await pool.close()

    assert connection.is_closed()
