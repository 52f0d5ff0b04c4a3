"""The database against real PostgreSQL: transactions, COPY, errors in our terms, restarts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from runstream_common.database import Database, driver_dsn, retry_on_conflict
from runstream_common.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from runstream_common.settings import ServiceSettings
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import PostgresServer


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, schema="public", pool_size=3, statement_timeout_ms=2000)
    async with database.transaction() as session:
        await session.execute(
            text("CREATE TABLE item (id int PRIMARY KEY, parent int REFERENCES item, name text)")
        )
    yield database
    await database.stop()


async def ids(database: Database) -> list[int]:
    async with database.read() as session:
        return list(await session.scalars(text("SELECT id FROM item ORDER BY id")))


async def insert(database: Database, item: int, **values: Any) -> None:
    async with database.transaction() as session:
        await session.execute(
            text("INSERT INTO item VALUES (:id, :parent, :name)"),
            {"id": item, "parent": None, "name": None} | values,
        )


def test_urls_are_accepted_as_the_driver_or_sqlalchemy_writes_them() -> None:
    for url in ("postgresql://u@h/db", "postgres://u@h/db", "postgresql+asyncpg://u@h/db"):
        assert driver_dsn(url) == "postgresql://u@h/db"
    with pytest.raises(ValueError, match="its scheme is mysql"):
        driver_dsn("mysql://u:hunter2@h/db")


def test_a_missing_url_is_named() -> None:
    with pytest.raises(FailedPrecondition, match="RUNSTREAM_DATABASE_URL"):
        Database.from_settings(ServiceSettings(bus_url="kafka://h"), schema="s", application_name="a")


async def test_settings_reach_the_server(database_url: str) -> None:
    settings = ServiceSettings(
        bus_url="kafka://h", database_url=database_url, database_statement_timeout_ms=7000
    )
    database = Database.from_settings(settings, schema="s", application_name="runstream-test")
    async with database.read() as session:
        for name, value in {
            "application_name": "runstream-test",
            "statement_timeout": "7s",
            "lock_timeout": "10s",
            "jit": "off",
        }.items():
            assert await session.scalar(text(f"SHOW {name}")) == value
    await database.stop()
    assert "postgres" not in repr(database.engine.url.password)


async def test_a_transaction_commits_whole_or_not_at_all(database: Database) -> None:
    await insert(database, 1)
    with pytest.raises(RuntimeError, match="after all"):
        async with database.transaction() as session:
            await session.execute(text("INSERT INTO item VALUES (2)"))
            raise RuntimeError("not after all")
    async with database.session() as session:
        await session.execute(text("INSERT INTO item VALUES (3)"))
    assert await ids(database) == [1]


async def test_copy_belongs_to_the_transaction_even_as_its_first_statement(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.transaction() as session:
            raw = await Database.raw(session)
            await raw.copy_records_to_table("item", records=[(1,)], columns=["id"])
            raise RuntimeError
    assert await ids(database) == []
    async with database.connect() as connection:
        raw = await Database.raw(connection)
        await raw.copy_records_to_table("item", records=[(1,), (2,)], columns=["id"])
    assert await ids(database) == [1, 2]


async def test_unique_violations_name_their_constraint(database: Database) -> None:
    await insert(database, 1)
    with pytest.raises(AlreadyExists) as caught:
        await insert(database, 1)
    assert caught.value.metadata == {"constraint": "item_pkey"}
    with pytest.raises(AlreadyExists) as caught:
        async with database.transaction() as session:
            raw = await Database.raw(session)
            await raw.copy_records_to_table("item", records=[(1,)], columns=["id"])
    assert caught.value.metadata == {"constraint": "item_pkey"}


async def test_wrong_references_and_unstorable_text_are_the_callers_fault(database: Database) -> None:
    with pytest.raises(FailedPrecondition):
        await insert(database, 2, parent=1)
    with pytest.raises(InvalidArgument):
        await insert(database, 3, name="a\x00b")


async def test_our_own_mistakes_stay_visible(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.read() as session:
            await session.execute(text("SELECT 1/0"))


async def test_a_statement_that_takes_too_long_is_a_deadline(database: Database) -> None:
    with pytest.raises(DeadlineExceeded):
        async with database.transaction() as session:
            await session.execute(text("SET LOCAL statement_timeout = 50"))
            await session.execute(text("SELECT pg_sleep(10)"))
    assert await ids(database) == []


async def test_waiting_for_a_lock_is_bounded(database: Database) -> None:
    async with database.transaction() as holder:
        await holder.execute(text("LOCK TABLE item"))
        with pytest.raises(Aborted):
            async with database.transaction() as session:
                await session.execute(text("SET LOCAL lock_timeout = 50"))
                await session.execute(text("SELECT * FROM item"))


async def test_a_busy_pool_is_unavailable(database_url: str) -> None:
    database = Database(database_url, schema="public", pool_size=1, pool_timeout_seconds=0.05)
    async with database.connect():
        with pytest.raises(Unavailable) as caught:
            await database.ping()
    assert caught.value.reason == "DATABASE_BUSY"
    await database.ping()
    await database.stop()


async def test_deadlocks_are_retried_until_both_succeed(database: Database) -> None:
    await insert(database, 1)
    await insert(database, 2)
    both_hold_one = asyncio.Barrier(2)
    aborted = 0

    async def rename(first: int, second: int) -> None:
        waits = True

        async def once() -> None:
            nonlocal waits, aborted
            try:
                async with database.transaction() as session:
                    await session.execute(text("UPDATE item SET name = 'x' WHERE id = :id"), {"id": first})
                    if waits:
                        waits = False
                        await both_hold_one.wait()
                    await session.execute(text("UPDATE item SET name = 'x' WHERE id = :id"), {"id": second})
            except Aborted:
                aborted += 1
                raise

        await retry_on_conflict(once)

    await asyncio.gather(rename(1, 2), rename(2, 1))
    assert aborted == 1


async def test_retries_are_bounded() -> None:
    runs = 0

    async def always() -> None:
        nonlocal runs
        runs += 1
        raise Aborted("again")

    with pytest.raises(Aborted):
        await retry_on_conflict(always, attempts=3, base_delay_seconds=0.001)
    assert runs == 3


async def test_a_killed_connection_is_unavailable_once(database: Database) -> None:
    with pytest.raises(Unavailable) as caught:
        async with database.transaction() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert caught.value.retryable
    assert await ids(database) == []


async def test_an_answer_that_came_in_half_is_an_outage_and_its_connection_is_dropped(
    database: Database,
) -> None:
    """A server killed while it answers leaves asyncpg with this error; taken for a bug it would park good messages."""
    with pytest.raises(Unavailable):
        async with database.driver() as connection:
            raise asyncpg.InternalClientError(
                "cannot switch to state 12; another operation (2) is in progress"
            )
    assert connection.is_closed()


async def test_a_restarted_server_is_found_again(disposable_postgres: PostgresServer) -> None:
    database = Database(disposable_postgres.url("postgres"), schema="public", pool_size=3)
    await asyncio.gather(*(database.ping() for _ in range(3)))
    disposable_postgres.kill()
    with pytest.raises(Unavailable):
        await database.ping()
    disposable_postgres.restart()
    # Every pooled connection is dead: none of them may surface.
    await asyncio.gather(*(database.ping() for _ in range(3)))
    await database.stop()


async def test_a_server_that_was_never_there_fails_the_start() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none", schema="public")
    with pytest.raises(Unavailable):
        await database.start()
    await database.stop()
