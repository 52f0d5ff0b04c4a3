"""Connections of the driver alone, for hot paths.

A session's pool costs more CPU than a short statement does, and asyncpg's own pool starts a task with every use. Here a
use is two list operations. What makes that enough: users change nothing of a connection's session state.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from runstream_common.database_errors import DRIVER_ERRORS
from runstream_common.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

BUSY_RETRY_AFTER_SECONDS = 1.0
CLOSE_SECONDS = 2.0
"""How long the server is given to say good-bye to one connection."""


class DriverPool:
    """A pool of asyncpg's connections, each opened when it is first needed.

    Args:
        connect: makes one.
        size: most there are.
        timeout_seconds: longest wait for a free one.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], *, size: int, timeout_seconds: float
    ) -> None:
        self._connect = connect
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection] = []
        self._closed = False

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for the block.

        One that the block leaves inside a transaction, or in the middle of an answer, is cut: the server rolls back.

        Raises:
            Unavailable: all of them are in use for too long.
        """
        await self._take_slot()
        try:
            # The last one used comes first: its statements are prepared, and the others may stay closed.
            connection = self._pop_idle() or await self._connect()
            try:
                yield connection
            except (asyncio.CancelledError, TimeoutError, asyncpg.InternalClientError):
                # Its answer may still be on the way, or came in half.
                connection.terminate()
                raise
            finally:
                self._put_back(connection)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close every connection; those in use are closed when they come back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=CLOSE_SECONDS)
            except DRIVER_ERRORS:
                connection.terminate()

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unavailable(
                "every database connection is in use",
                reason="DATABASE_BUSY",
                retry_after_seconds=BUSY_RETRY_AFTER_SECONDS,
            ) from error

    def _pop_idle(self) -> asyncpg.Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _put_back(self, connection: asyncpg.Connection) -> None:
        if connection.is_closed():
            return
        if self._closed or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)
