"""The PostgreSQL engine of a service: sessions, transactions, COPY, and errors in our own terms."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from runstream_common.database_errors import DRIVER_ERRORS, map_database_error
from runstream_common.driver_pool import DriverPool
from runstream_common.errors import Aborted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from runstream_common.settings import DatabaseSettings

T = TypeVar("T")

CLIENT_TIMEOUT_MARGIN_SECONDS = 5.0
"""The driver gives up this much after the statement timeout: only when the server is not answering at all."""


def driver_dsn(url: str | SecretStr) -> str:
    """The URL as asyncpg takes it: ``postgresql://`` and ``postgresql+asyncpg://`` are both accepted.

    Raises:
        ValueError: the scheme is another one.
    """
    plain = url.get_secret_value() if isinstance(url, SecretStr) else url
    scheme, separator, rest = plain.partition("://")
    if scheme not in {"postgresql", "postgres", "postgresql+asyncpg"} or not separator:
        raise ValueError(f"not a PostgreSQL URL: its scheme is {urlsplit(plain).scheme or 'missing'}")
    return f"postgresql://{rest}"


class Database:
    """One service's connections to its schema.

    Args:
        url: where the database is; ``?host=/folder`` names a Unix socket.
        schema: the schema that the service owns. Statements name it, so ``search_path`` stays as it is.
        application_name: how the service shows in ``pg_stat_activity``.
        pool_size: connections kept for sessions, and as many for ``driver``, each opened when first needed; there is
            no overflow, so it is also the most there are.
        pool_timeout_seconds: longest wait for a free one.
        connect_timeout_seconds: longest wait for a new one.
        statement_timeout_ms: longest single statement; 0 is unlimited.
        lock_timeout_ms: longest wait for a lock; 0 is unlimited.
        durable_commits: False lets a commit return before it is on disk (``synchronous_commit``): a crash of the server
            may take back what was committed in the last moments, never a part of it.

    Errors that leave its context managers are mapped by ``map_database_error``.
    """

    def __init__(
        self,
        url: str | SecretStr,
        *,
        schema: str,
        application_name: str = "runstream",
        pool_size: int = 10,
        pool_timeout_seconds: float = 10.0,
        connect_timeout_seconds: float = 5.0,
        statement_timeout_ms: int = 30_000,
        lock_timeout_ms: int = 10_000,
        durable_commits: bool = True,
    ) -> None:
        self.schema = schema
        self.name = "database"
        self._dsn = driver_dsn(url)
        self._connect_timeout_seconds = connect_timeout_seconds
        self._statement_timeout_ms = statement_timeout_ms
        self._server_settings = {
            "application_name": application_name,
            "statement_timeout": str(statement_timeout_ms),
            "lock_timeout": str(lock_timeout_ms),
            # A transaction left open by a bug would hold locks and stop vacuum for ever.
            "idle_in_transaction_session_timeout": "120000",
            # Compiling costs more than our short statements take.
            "jit": "off",
        }
        if not durable_commits:
            self._server_settings["synchronous_commit"] = "off"
        # No pre-ping: it is a round trip on the hot path. _discard_closed is the free version of it.
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout_seconds,
            pool_use_lifo=True,
        )
        event.listen(self.engine.sync_engine, "checkout", _discard_closed)
        self._drivers = DriverPool(self._connect, size=pool_size, timeout_seconds=pool_timeout_seconds)
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def from_settings(cls, settings: DatabaseSettings, *, schema: str, application_name: str) -> Self:
        """The database that the settings name.

        Raises:
            FailedPrecondition: RUNSTREAM_DATABASE_URL is not set.
        """
        return cls(
            settings.require_database_url(),
            schema=schema,
            application_name=application_name,
            pool_size=settings.database_pool_size,
            pool_timeout_seconds=settings.database_pool_timeout_seconds,
            connect_timeout_seconds=settings.database_connect_timeout_seconds,
            statement_timeout_ms=settings.database_statement_timeout_ms,
            lock_timeout_ms=settings.database_lock_timeout_ms,
        )

    def sibling(
        self, *, application_name: str, pool_size: int, statement_timeout_ms: int, lock_timeout_ms: int
    ) -> Database:
        """The same database and schema with other limits and connections of its own; the caller stops it.

        For work that must neither be cut off by the timeouts of requests nor take their connections.
        """
        return Database(
            self._dsn,
            schema=self.schema,
            application_name=application_name,
            pool_size=pool_size,
            connect_timeout_seconds=self._connect_timeout_seconds,
            statement_timeout_ms=statement_timeout_ms,
            lock_timeout_ms=lock_timeout_ms,
        )

    async def start(self) -> None:
        """Check that the database answers.

        Raises:
            Unavailable: it does not.
        """
        await self.ping()

    async def stop(self) -> None:
        """Close every connection."""
        await self._drivers.close()
        await self.engine.dispose()

    async def ping(self) -> None:
        """Ask the database for an answer; for readiness.

        Raises:
            Unavailable, DeadlineExceeded: there is none.
        """
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session whose caller commits; what is not committed is rolled back at the end."""
        async with mapped_errors(), AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session in one transaction: committed at the end, rolled back if the block raises."""
        async with self.session() as session, session.begin():
            yield session

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading, without a transaction: each statement sees its own snapshot.

        Saves the two round trips of BEGIN and ROLLBACK. Use ``transaction`` when statements must agree.
        """
        async with mapped_errors(), AsyncSession(self._autocommit, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection in one transaction, for statements that need no session."""
        async with mapped_errors(), self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[asyncpg.Connection]:
        """The driver's connection by itself, each statement its own transaction; for hot paths.

        Open one with ``connection.transaction()`` where several statements belong together.
        """
        async with mapped_errors(), self._drivers.acquire() as connection:
            yield connection

    @staticmethod
    async def raw(session: AsyncSession | AsyncConnection) -> asyncpg.Connection:
        """The driver's connection under a session or connection, inside the same transaction; for COPY.

        Whatever it raises is mapped by the context manager that the session came from.
        """
        connection = await session.connection() if isinstance(session, AsyncSession) else session
        pooled = await connection.get_raw_connection()
        driver: asyncpg.Connection = pooled.driver_connection
        if not driver.is_in_transaction():
            # SQLAlchemy sends BEGIN with its first statement; a COPY before that would commit by itself.
            await connection.exec_driver_sql("SELECT 1")
        return driver

    async def _connect(self, *_args: object, **_kwargs: object) -> asyncpg.Connection:
        seconds = self._statement_timeout_ms / 1000 + CLIENT_TIMEOUT_MARGIN_SECONDS
        return await asyncpg.connect(
            self._dsn,
            timeout=self._connect_timeout_seconds,
            command_timeout=seconds if self._statement_timeout_ms else None,
            server_settings=self._server_settings,
        )


@asynccontextmanager
async def mapped_errors() -> AsyncIterator[None]:
    """Raise database errors from the block in our own terms; others pass unchanged."""
    try:
        yield
    except (exc.SQLAlchemyError, *DRIVER_ERRORS) as error:
        mapped = map_database_error(error)
        if mapped is None:
            raise
        raise mapped from error


async def retry_on_conflict(
    operation: Callable[[], Awaitable[T]], *, attempts: int = 5, base_delay_seconds: float = 0.02
) -> T:
    """Run an operation that owns its transaction again when it lost against a concurrent one.

    Args:
        operation: the whole transaction; it is run from the start each time.
        attempts: most runs in total.
        base_delay_seconds: longest wait before the second run; it doubles each time, with jitter.

    Raises:
        Aborted: every run lost.
    """
    for attempt in range(attempts - 1):
        try:
            return await operation()
        except Aborted:
            await asyncio.sleep(random.uniform(0, base_delay_seconds * 2**attempt))  # noqa: S311 - jitter
    return await operation()


def _discard_closed(driver_connection: Any, _record: object, _proxy: object) -> None:
    # After a restart every pooled connection is closed, which asyncpg knows without asking the server.
    if driver_connection.driver_connection.is_closed():
        raise exc.InvalidatePoolError("the server closed the connection")
