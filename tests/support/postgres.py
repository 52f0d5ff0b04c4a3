"""PostgreSQL for tests: the embedded product's own server class, over a throw-away directory."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from runstream.embedded.postgres import LocalPostgres

from deploy.local.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Small, so that several test workers fit on one machine.
_SMALL = {"shared_buffers": "64MB", "max_wal_size": "1GB"}
# For the shared server only: it is never restarted, so nothing needs to reach the disk.
_SHARED = {**_SMALL, "fsync": "off", "full_page_writes": "off"}


class PostgresServer(LocalPostgres):
    """A PostgreSQL server that a test may kill and restart. The data directory survives both."""

    def restart(self) -> None:
        """Start the server again over the same data and port, after `kill` or `stop`."""
        self.stop()
        self.start()


@contextlib.contextmanager
def running_postgres(settings: Mapping[str, str] = _SMALL) -> Iterator[PostgresServer]:
    """Run a server until the block ends, then delete its data."""
    # Not pytest's temporary folder: root's is closed to the server's own user, and pytest closes it again at will.
    directory = Path(tempfile.mkdtemp(prefix="runstream-pg-"))
    server = PostgresServer(directory / "data", free_port(), settings=settings)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


def shared_postgres() -> contextlib.AbstractContextManager[PostgresServer]:
    """Run a server without fsync, for the tests that do not crash it."""
    return running_postgres(_SHARED)


@contextlib.contextmanager
def fresh_database(server: PostgresServer, *, template: str = "template1") -> Iterator[str]:
    """Create a database, give its SQLAlchemy URL (asyncpg), and drop it with any open connection.

    Args:
        template: database that it is a copy of, with nobody connected; without one it is empty.
    """
    name = f"test_{uuid.uuid4().hex}"
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield server.url(name)
    finally:
        _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(server: PostgresServer, sql: str) -> None:
    """Run a statement over a connection of our own.

    Not with psql: its process is forked, as it gets another user, and a fork amid gRPC's threads now and then
    kills the child. On a thread, since the test's own event loop may be running.
    """

    async def run() -> None:
        connection = await asyncpg.connect(server.url("postgres").replace("+asyncpg", "", 1))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, run()).result()
