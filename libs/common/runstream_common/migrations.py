"""Bringing a service's schema up to date, safely while replicas start and traffic flows.

A service keeps its revisions in ``<package>/migrations/versions``; everything else is here.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from runstream_common.database import mapped_errors
from runstream_common.errors import Aborted, FailedPrecondition, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection

    from runstream_common.database import Database

log = structlog.get_logger(__name__)

# A statement that queues for a table lock makes everyone behind it queue too: give up soon, try again.
LOCK_TIMEOUT_MS = 4000
STATEMENT_TIMEOUT_MS = 5 * 60 * 1000
ATTEMPTS = 10
TURN_POLL_SECONDS = 0.2
TURN_TIMEOUT_SECONDS = 15 * 60.0

# Alembic's ``op`` and ``context`` are global to the process, so runs in one process go one by one even
# when their schemas differ. A lock belongs to one event loop.
_in_process: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """Where a schema is and where the code wants it; None is an empty schema."""

    current: str | None
    wanted: str | None


async def run_migrations(database: Database, package: str, *, target: str = "head") -> None:
    """Upgrade the database's schema to what the package's revisions say; does nothing when it is there.

    One runner works at a time, over all processes; others wait and then find the work done. Each
    revision is its own transaction, under a lock timeout of 4 s (tried again) and a statement timeout
    of 5 minutes.

    Args:
        database: whose ``schema`` is created if it is missing and holds the version table.
        package: dotted name of the package that has ``migrations/versions``.
        target: revision to go to; an older one downgrades (``base`` undoes everything).

    Raises:
        Aborted: the tables stayed locked through every attempt.
        Unavailable: the database is away, or another runner took longer than 15 minutes.
    """
    config = _config(package, database.schema)
    # Its own connections: those that serve requests have timeouts that are right for requests.
    own = database.sibling(
        application_name="runstream-migrate",
        pool_size=2,
        statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        lock_timeout_ms=LOCK_TIMEOUT_MS,
    )
    in_process = _in_process.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    try:
        async with in_process, _turn(own):
            await _migrate_with_retries(own, config, target)
    finally:
        await own.stop()


async def schema_version(database: Database, package: str) -> SchemaVersion:
    """Where the schema is and where the code wants it; changes nothing."""
    config = _config(package, database.schema)
    async with database.connect() as connection:
        current = await connection.run_sync(_current_revision, database.schema)
    return SchemaVersion(current, ScriptDirectory.from_config(config).get_current_head())


async def check_schema(database: Database, package: str) -> None:
    """Refuse to work on a schema that the code does not know.

    A schema that is newer than the code is accepted: migrations work with the version before them.

    Raises:
        FailedPrecondition: revisions are missing in the database.
    """
    config = _config(package, database.schema)
    version = await schema_version(database, package)
    known = {item.revision for item in ScriptDirectory.from_config(config).walk_revisions()}
    if version.current == version.wanted or (version.current and version.current not in known):
        return
    raise FailedPrecondition(
        f"schema {database.schema} is at revision {version.current or 'none'} and needs {version.wanted}: "
        f"run `python -m {package} migrate`",
        reason="SCHEMA_NOT_MIGRATED",
    )


async def _migrate_with_retries(database: Database, config: Config, target: str) -> None:
    for attempt in range(1, ATTEMPTS):
        try:
            await _migrate(database, config, target)
        except Aborted:
            log.warning("migration_waits_for_lock", schema=database.schema, attempt=attempt)
        else:
            return
    await _migrate(database, config, target)


async def _migrate(database: Database, config: Config, target: str) -> None:
    async with mapped_errors(), database.engine.connect() as connection:
        await connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{database.schema}"'))
        await connection.commit()
        before = await connection.run_sync(_current_revision, database.schema)
        await connection.run_sync(_run_alembic, config, target)
        after = await connection.run_sync(_current_revision, database.schema)
    if after != before:
        log.info("schema_migrated", schema=database.schema, from_revision=before, to_revision=after)


def _run_alembic(connection: Connection, config: Config, target: str) -> None:
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection, opts=_version_table(config.attributes["schema"]))
    ahead = target == "head" or target not in _ancestors(script, current.get_current_revision())
    connection.commit()
    (command.upgrade if ahead else command.downgrade)(config, target)


def _ancestors(script: ScriptDirectory, revision: str | None) -> set[str]:
    if revision is None:
        return set()
    older = {item.revision for item in script.iterate_revisions(revision, "base")} - {revision}
    return older | {"base"}


def _current_revision(connection: Connection, schema: str) -> str | None:
    return MigrationContext.configure(connection, opts=_version_table(schema)).get_current_revision()


def _version_table(schema: str) -> dict[str, Any]:
    return {"version_table": "schema_version", "version_table_schema": schema}


@asynccontextmanager
async def _turn(database: Database) -> AsyncIterator[None]:
    """Hold the schema's advisory lock; it goes with the connection, so a killed runner frees it."""
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    key = _lock_key(database.schema)
    async with mapped_errors(), engine.connect() as connection:
        # Asked again and again rather than waited for: a waiting statement holds a snapshot, and an
        # index that is created concurrently waits for every snapshot, so both would wait for ever.
        deadline = asyncio.get_running_loop().time() + TURN_TIMEOUT_SECONDS
        while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("another process has been migrating for too long", reason="MIGRATION_BUSY")
            await asyncio.sleep(TURN_POLL_SECONDS)
        try:
            yield
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})


def _lock_key(schema: str) -> int:
    digest = hashlib.sha256(f"runstream.migrations.{schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _config(package: str, schema: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations_env"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(_versions_folder(package)))
    config.attributes["schema"] = schema
    return config


def _versions_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        folder = Path(location) / "migrations" / "versions"
        if folder.is_dir():
            return folder
    raise FailedPrecondition(f"package {package} has no migrations/versions", reason="NO_MIGRATIONS")
