"""The migrations make the tables that the code describes, and can be undone."""

from __future__ import annotations

import asyncio

import pytest
from runstream_common.database import Database
from runstream_common.migrations import run_migrations
from runstream_metadata.store import metric_tables, tables
from sqlalchemy import inspect


@pytest.fixture
async def empty(database_url):
    database = Database(database_url, schema="metadata")
    yield database
    await database.stop()


async def described(database: Database) -> dict[str, tuple[dict[str, bool], set[str], list[str]]]:
    """Columns with their nullability, indexes and primary key of each table that is there."""

    def look(connection):
        inspector = inspect(connection)
        return {
            name: (
                {column["name"]: column["nullable"] for column in inspector.get_columns(name, "metadata")},
                {index["name"] for index in inspector.get_indexes(name, "metadata")},
                inspector.get_pk_constraint(name, "metadata")["constrained_columns"],
            )
            for name in inspector.get_table_names("metadata")
            if name != "schema_version"
        }

    async with database.connect() as connection:
        return await connection.run_sync(look)


async def test_they_make_the_tables_that_the_code_describes(empty):
    await run_migrations(empty, "runstream_metadata")
    made = await described(empty)

    assert metric_tables.metadata is tables.metadata
    assert set(made) == {table.name for table in tables.metadata.sorted_tables}
    for table in tables.metadata.sorted_tables:
        columns, indexes, key = made[table.name]
        assert columns == {column.name: bool(column.nullable) for column in table.columns}, table.name
        assert {index.name for index in table.indexes} <= indexes, table.name
        assert set(key) == {column.name for column in table.primary_key}, table.name


async def test_up_down_up_ends_where_it_was(empty):
    await run_migrations(empty, "runstream_metadata")
    first = await described(empty)
    await run_migrations(empty, "runstream_metadata", target="base")
    assert await described(empty) == {}
    await run_migrations(empty, "runstream_metadata")

    assert await described(empty) == first


async def test_three_replicas_may_start_at_once(empty, database_url):
    replicas = [Database(database_url, schema="metadata") for _ in range(3)]
    await asyncio.gather(*(run_migrations(replica, "runstream_metadata") for replica in replicas))
    for replica in replicas:
        await replica.stop()

    async with empty.driver() as connection:
        assert await connection.fetchval("SELECT count(*) FROM metadata.experiment") == 1
