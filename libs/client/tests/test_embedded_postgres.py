"""The embedded PostgreSQL: durable by default, one server per directory, failures that say what happened."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runstream.embedded.postgres import LocalPostgres, PostgresError
from runstream.embedded.postgres_account import Account

from deploy.local.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder that the server's own user may be let into; pytest's is closed again by every other pytest run."""
    directory = Path(tempfile.mkdtemp(prefix="runstream-pg-"))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("synchronous_commit", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", "127.0.0.1"),
    ],
)
def test_default_settings_keep_what_was_acknowledged(
    disposable_postgres: PostgresServer, setting: str, expected: str
) -> None:
    assert disposable_postgres.execute(f"SHOW {setting}") == expected


def test_data_directory_is_closed_to_other_users(disposable_postgres: PostgresServer) -> None:
    assert stat.S_IMODE(disposable_postgres.data_dir.stat().st_mode) == 0o700


def test_second_server_over_one_directory_is_refused(disposable_postgres: PostgresServer) -> None:
    second = LocalPostgres(disposable_postgres.data_dir, free_port())
    with pytest.raises(PostgresError, match="another PostgreSQL server"):
        second.start()
    assert disposable_postgres.is_ready()


def test_leftover_of_a_killed_supervisor_can_be_stopped_and_replaced(
    disposable_postgres: PostgresServer,
) -> None:
    disposable_postgres.execute("CREATE TABLE kept AS SELECT 7 AS value")
    successor = LocalPostgres(disposable_postgres.data_dir, free_port())
    successor.stop_leftover()
    assert disposable_postgres.poll() == 0
    successor.start()
    try:
        assert successor.execute("SELECT value FROM kept") == "7"
    finally:
        successor.stop()


def test_server_that_ends_by_itself_is_seen(disposable_postgres: PostgresServer) -> None:
    assert disposable_postgres.poll() is None
    LocalPostgres(disposable_postgres.data_dir, disposable_postgres.port).stop_leftover()
    assert disposable_postgres.poll() == 0
    assert not disposable_postgres.is_ready()


def test_create_database_twice_is_no_error(disposable_postgres: PostgresServer) -> None:
    disposable_postgres.create_database("runstream")
    disposable_postgres.create_database("runstream")
    assert disposable_postgres.execute("SELECT 1", database="runstream") == "1"


def test_failed_sql_raises_with_the_servers_words(disposable_postgres: PostgresServer) -> None:
    with pytest.raises(PostgresError, match='relation "missing" does not exist'):
        disposable_postgres.execute("SELECT * FROM missing")


def test_path_too_long_for_a_socket_gets_a_short_private_one(short_dir: Path) -> None:
    server = LocalPostgres(short_dir / ("d" * 110), free_port(), settings={"shared_buffers": "16MB"})
    server.initialise()
    server.start()
    try:
        assert server.socket_dir != server.data_dir
        assert server.execute("SELECT 1") == "1"
    finally:
        server.stop()
        server.socket_dir.rmdir()


def test_initialise_starts_over_after_an_interruption_and_then_leaves_data_alone(short_dir: Path) -> None:
    interrupted = short_dir / ".data.initialising" / "data"
    interrupted.mkdir(parents=True)
    (interrupted / "half-written").touch()
    server = LocalPostgres(short_dir / "data", free_port())
    server.initialise()
    first = server.url("postgres")
    server.initialise()
    assert server.url("postgres") == first
    assert [path.name for path in short_dir.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nonsense": "1"}, "unrecognized configuration parameter"),
        ({"shared_buffers": "a lot"}, "invalid value"),
    ],
)
def test_refused_setting_fails_the_start_with_the_servers_words(
    short_dir: Path, settings: dict[str, str], said: str
) -> None:
    server = LocalPostgres(short_dir / "data", free_port(), settings=settings)
    server.initialise()
    with pytest.raises(PostgresError, match=said):
        server.start()
    assert server.poll() is None, "nothing is left to stop"


def test_taken_port_fails_the_start(short_dir: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        server = LocalPostgres(short_dir / "data", holder.getsockname()[1])
        server.initialise()
        with pytest.raises(PostgresError, match="could not bind IPv4 address"):
            server.start()


def test_folders_above_are_opened_for_passage_only(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    Account(uid=os.geteuid() + 1, gid=os.getegid(), switch=True).allow_access(closed / "data")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701


def test_folders_stay_closed_when_the_server_runs_as_ourselves(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    Account(uid=os.geteuid(), gid=os.getegid(), switch=False).allow_access(closed / "data")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
