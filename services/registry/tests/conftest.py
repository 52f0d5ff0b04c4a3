"""A migrated database for every test of the registry: migrations run once, each test gets a copy."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from runstream_common.database import Database
from runstream_common.migrations import run_migrations
from runstream_registry.wiring import PACKAGE

from tests.support.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> Iterator[str]:
    """Name of a database with the registry's schema and nothing in it; nobody connects to it."""
    with fresh_database(postgres_server) as url, ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, _migrate(url)).result()
        yield url.rpartition("/")[2].partition("?")[0]


@pytest.fixture
def database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """URL (`postgresql+asyncpg://…`) of a migrated database of this test alone."""
    with fresh_database(postgres_server, template=migrated_template) as url:
        yield url


async def _migrate(url: str) -> None:
    database = Database(url, schema="registry")
    try:
        await run_migrations(database, PACKAGE)
    finally:
        await database.stop()
