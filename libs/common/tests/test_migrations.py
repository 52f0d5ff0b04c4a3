"""Migrations against real PostgreSQL: replicas at once, locks, failures half-way, versions."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from runstream_common import migrations
from runstream_common.database import Database
from runstream_common.errors import Aborted, FailedPrecondition
from runstream_common.migrations import check_schema, run_migrations, schema_version
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PACKAGE = "migrated_package"
SCHEMA = "migrated"
FIRST = ("0001", None, f"CREATE TABLE {SCHEMA}.item (id serial PRIMARY KEY)", f"DROP TABLE {SCHEMA}.item")
# Slow enough that runners which do not wait for each other would both be in it.
SECOND = ("0002", "0001", f"SELECT pg_sleep(0.3); INSERT INTO {SCHEMA}.item DEFAULT VALUES", "SELECT 1")


def write_revisions(folder: Path, *revisions: tuple[str, str | None, str, str]) -> None:
    versions = folder / PACKAGE / "migrations" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (folder / PACKAGE / "__init__.py").touch()
    for revision, parent, up, down in revisions:
        (versions / f"{revision}.py").write_text(
            "from alembic import op\n"
            f"revision = {revision!r}\ndown_revision = {parent!r}\n"
            f"def upgrade():\n    for sql in {up!r}.split(';'):\n        op.execute(sql)\n"
            f"def downgrade():\n    op.execute({down!r})\n"
        )


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_revisions(tmp_path, FIRST, SECOND)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return tmp_path


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, schema=SCHEMA)
    yield database
    await database.stop()


async def count(database: Database) -> int:
    async with database.read() as session:
        return int(await session.scalar(text(f"SELECT count(*) FROM {SCHEMA}.item")) or 0)


async def test_three_replicas_at_once_apply_each_revision_once(
    database: Database, database_url: str, package: Path
) -> None:
    program = (
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(package)!r})\n"
        "from runstream_common.database import Database\n"
        "from runstream_common.migrations import run_migrations\n"
        "async def main():\n"
        f"    database = Database({database_url!r}, schema={SCHEMA!r})\n"
        f"    await run_migrations(database, {PACKAGE!r})\n"
        "    await database.stop()\n"
        "asyncio.run(main())\n"
    )
    runners = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(3)]
    assert [await runner.wait() for runner in runners] == [0, 0, 0]
    assert await count(database) == 1
    assert (await schema_version(database, PACKAGE)).current == "0002"


async def test_runs_in_one_process_take_turns(database: Database, package: Path) -> None:
    await asyncio.gather(*(run_migrations(database, PACKAGE) for _ in range(3)))
    assert await count(database) == 1


async def test_up_down_up(database: Database, package: Path) -> None:
    await run_migrations(database, PACKAGE)
    await run_migrations(database, PACKAGE, target="0001")
    assert (await schema_version(database, PACKAGE)).current == "0001"
    await run_migrations(database, PACKAGE, target="base")
    assert (await schema_version(database, PACKAGE)).current is None
    await run_migrations(database, PACKAGE)
    assert (await schema_version(database, PACKAGE)).current == "0002"


async def test_the_version_table_lives_in_the_services_own_schema(database: Database, package: Path) -> None:
    await run_migrations(database, PACKAGE)
    async with database.read() as session:
        found = await session.execute(
            text("SELECT schemaname FROM pg_tables WHERE tablename = 'schema_version'")
        )
        assert [row[0] for row in found] == [SCHEMA]


async def test_a_failing_revision_keeps_those_before_it_and_goes_on_later(
    database: Database, package: Path
) -> None:
    write_revisions(package, ("0003", "0002", f"INSERT INTO {SCHEMA}.item DEFAULT VALUES; SELECT broken", ""))
    with pytest.raises(Exception, match="broken"):
        await run_migrations(database, PACKAGE)
    assert (await schema_version(database, PACKAGE)).current == "0002"
    assert await count(database) == 1
    write_revisions(package, ("0003", "0002", f"INSERT INTO {SCHEMA}.item DEFAULT VALUES", ""))
    await run_migrations(database, PACKAGE)
    assert await count(database) == 2


async def test_a_locked_table_is_tried_again(
    database: Database, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_migrations(database, PACKAGE)
    write_revisions(package, ("0003", "0002", f"ALTER TABLE {SCHEMA}.item ADD note text", ""))
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_MS", 50)
    gave_up = asyncio.Event()
    monkeypatch.setattr(migrations.log, "warning", lambda *_args, **_facts: gave_up.set())
    async with database.connect() as reader:
        await reader.execute(text(f"SELECT * FROM {SCHEMA}.item"))
        running = asyncio.create_task(run_migrations(database, PACKAGE))
        await asyncio.wait_for(gave_up.wait(), 20)
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_MS", 4000)
    await running
    assert (await schema_version(database, PACKAGE)).current == "0003"


async def test_a_table_that_stays_locked_fails_the_run(
    database: Database, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_migrations(database, PACKAGE)
    write_revisions(package, ("0003", "0002", f"ALTER TABLE {SCHEMA}.item ADD note text", ""))
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(migrations, "ATTEMPTS", 2)
    async with database.connect() as reader:
        await reader.execute(text(f"SELECT * FROM {SCHEMA}.item"))
        with pytest.raises(Aborted):
            await run_migrations(database, PACKAGE)


async def test_an_index_is_built_concurrently_while_another_replica_waits(
    database: Database, package: Path
) -> None:
    (package / PACKAGE / "migrations" / "versions" / "0003.py").write_text(
        "from alembic import op\n"
        "revision, down_revision = '0003', '0002'\n"
        "def upgrade():\n"
        "    with op.get_context().autocommit_block():\n"
        "        op.execute('SELECT pg_sleep(0.3)')\n"
        f"        op.create_index('item_id', 'item', ['id'], schema={SCHEMA!r}, postgresql_concurrently=True)\n"
    )
    running = asyncio.create_task(run_migrations(database, PACKAGE))
    await until(
        database,
        "SELECT count(*) = 1 FROM pg_locks JOIN pg_database AS d ON d.oid = database WHERE locktype = 'advisory' AND datname = current_database()",
    )
    # This process lets one runner in at a time; a replica is another process and meets it at the database.
    other = asyncio.create_task(_wait_for_turn(database))
    await running
    await other
    assert (await schema_version(database, PACKAGE)).current == "0003"


async def _wait_for_turn(database: Database) -> None:
    async with migrations._turn(database):
        pass


async def until(database: Database, condition: str) -> None:
    async with database.read() as session:
        while not await session.scalar(text(condition)):
            await asyncio.sleep(0)


async def test_a_schema_that_is_behind_is_refused_with_the_command(database: Database, package: Path) -> None:
    with pytest.raises(FailedPrecondition, match=f"python -m {PACKAGE} migrate"):
        await check_schema(database, PACKAGE)
    await run_migrations(database, PACKAGE)
    await check_schema(database, PACKAGE)


async def test_a_schema_newer_than_the_code_is_accepted(database: Database, package: Path) -> None:
    await run_migrations(database, PACKAGE)
    (package / PACKAGE / "migrations" / "versions" / "0002.py").unlink()
    await check_schema(database, PACKAGE)


async def test_a_package_without_migrations_is_named(database: Database) -> None:
    with pytest.raises(FailedPrecondition, match="json has no migrations"):
        await run_migrations(database, "json")
