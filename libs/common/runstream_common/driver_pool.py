"""Connections of the driver alone, for hot paths: taking one costs a tenth of what a session's costs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from runstream_common.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

BUSY_RETRY_AFTER_SECONDS = 1.0
CLOSE_SECONDS = 5.0
"""How long connections in use are waited for when the pool closes; then they are cut."""


class DriverPool:
    """A lazily filled pool of asyncpg's connections.

    Args:
        connect: makes one.
        size: most there are.
        timeout_seconds: longest wait for a free one.
    """

    def __init__(
        self, connect: Callable[..., Awaitable[asyncpg.Connection]], *, size: int, timeout_seconds: float
    ) -> None:
        self._connect = connect
        self._size = size
        self._timeout_seconds = timeout_seconds
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for the block; a transaction that is left open is rolled back.

        Raises:
            Unavailable: all of them are in use for too long.
        """
        pool = self._pool or await self._open()
        try:
            async with asyncio.timeout(self._timeout_seconds) as timer:
                connection = await pool.acquire()
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise Unavailable(
                "every database connection is in use",
                reason="DATABASE_BUSY",
                retry_after_seconds=BUSY_RETRY_AFTER_SECONDS,
            ) from error
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def close(self) -> None:
        """Close every connection; those in use are waited for a moment."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    connect=self._connect,
                    min_size=0,
                    max_size=self._size,
                    # Closing idle ones would arm a timer with every use.
                    max_inactive_connection_lifetime=0,
                    reset=_keep_session,
                )
            return self._pool


async def _keep_session(_connection: Any) -> None:
    # asyncpg's own reset is a round trip after every use; nothing here changes the session's state.
    return
