"""Wakes who waits for rows when some arrive: LISTEN on a connection of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import structlog

from runstream_common.bus.postgres_schema import CHANNEL
from runstream_common.database import driver_dsn
from runstream_common.database_errors import DRIVER_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0
CHECK_SECONDS = 5.0
CONNECT_SECONDS = 5.0


class PostgresListener:
    """Tells who waits for a queue that it got rows.

    Args:
        wake: called with the payload, the queue's name; with None after a reconnect, when any queue may have.
        channel: NOTIFY channel; the bus's if not given.
        application_name: how the connection shows in ``pg_stat_activity``.
    """

    def __init__(
        self,
        url: str | SecretStr,
        wake: Callable[[str | None], None],
        *,
        channel: str = CHANNEL,
        application_name: str = "runstream-bus-listen",
    ) -> None:
        self._dsn = driver_dsn(url)
        self._wake = wake
        self._channel = channel
        self._application_name = application_name
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether notifications arrive."""
        return self._connected

    async def run(self) -> None:
        """Listen, and reconnect after errors, until cancelled."""
        while True:
            try:
                await self._listen()
            except DRIVER_ERRORS as error:
                log.warning("listen_lost", error=str(error) or type(error).__name__)
            finally:
                self._connected = False
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=CHECK_SECONDS,
            server_settings={"application_name": self._application_name},
        )
        try:
            await connection.add_listener(self._channel, self._notified)
            self._connected = True
            self._wake(None)
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                # A dead TCP connection is only noticed by using it.
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._wake(str(payload))
