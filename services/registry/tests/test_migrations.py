"""The schema goes down and up again."""

from __future__ import annotations

from runstream_common.database import Database
from runstream_common.migrations import check_schema, run_migrations
from runstream_registry.wiring import PACKAGE


async def test_down_leaves_nothing_behind_and_up_works_again(database_url: str) -> None:
    database = Database(database_url, schema="registry")
    try:
        await run_migrations(database, PACKAGE, target="base")
        async with database.driver() as connection:
            left = await connection.fetch(
                """SELECT relname FROM pg_class WHERE relnamespace = 'registry'::regnamespace
                UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'registry'::regnamespace"""
            )
        await run_migrations(database, PACKAGE)
        await check_schema(database, PACKAGE)
    finally:
        await database.stop()

    assert [row["relname"] for row in left if not row["relname"].startswith("schema_version")] == []
