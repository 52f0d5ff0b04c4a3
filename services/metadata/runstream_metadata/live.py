"""Wakes live views when runs change: NOTIFY between processes, events within this one.

A wake-up says only that a run may have changed; whoever is woken reads for itself. So losing one costs a delay, never a
point: after a lost connection everyone is woken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
from runstream_common.database import driver_dsn
from runstream_common.database_errors import DRIVER_ERRORS
from sqlalchemy import func, select

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr
    from sqlalchemy.ext.asyncio import AsyncSession

log = structlog.get_logger(__name__)

CHANNEL: Final = "runstream_metadata_runs"
"""NOTIFY channel of this service."""

MAX_NAMED_RUNS: Final = 200
"""Runs that one payload names; PostgreSQL takes 8,000 bytes. With more, everyone is woken."""

ALL_RUNS: Final = "*"
_RUN_ID_LENGTH: Final = 32
_RECONNECT_SECONDS: Final = 1.0
_KEEPALIVE_SECONDS: Final = 15.0


def payload_for(run_ids: Iterable[str]) -> str:
    """What NOTIFY carries for these runs; empty when only progress is told."""
    distinct = sorted(set(run_ids))
    return ALL_RUNS if len(distinct) > MAX_NAMED_RUNS else "".join(distinct)


class Watch:
    """One waiter's flag; set when something it watches may have changed."""

    def __init__(self, hub: LiveHub, run_ids: frozenset[str] | None) -> None:
        self._hub = hub
        self.run_ids = run_ids
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Set the flag."""
        self._event.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for the flag and clear it; False when the time is up first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        woken = self._event.is_set()
        self._event.clear()
        return woken

    def __enter__(self) -> Watch:
        self._hub.add(self)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._hub.discard(self)


class LiveHub:
    """Knows who waits for what.

    Args:
        database_url: where NOTIFY comes from; the hub keeps one connection of its own.
    """

    def __init__(self, database_url: str | SecretStr) -> None:
        self._dsn = driver_dsn(database_url)
        self._by_run: defaultdict[str, set[Watch]] = defaultdict(set)
        self._on_progress: set[Watch] = set()
        self._lost = asyncio.Event()
        self.connected = asyncio.Event()
        """Set while notifications of other processes arrive."""

    def watch_runs(self, run_ids: Iterable[str]) -> Watch:
        """A flag for changes of these runs; use as a context manager, before the first read."""
        return Watch(self, frozenset(run_ids))

    def watch_progress(self) -> Watch:
        """A flag for moved watermarks; use as a context manager, before the first read."""
        return Watch(self, None)

    def add(self, watch: Watch) -> None:
        """Begin to wake a flag."""
        if watch.run_ids is None:
            self._on_progress.add(watch)
        for run_id in watch.run_ids or ():
            self._by_run[run_id].add(watch)

    def discard(self, watch: Watch) -> None:
        """Stop to wake a flag."""
        self._on_progress.discard(watch)
        for run_id in watch.run_ids or ():
            self._by_run[run_id].discard(watch)
            if not self._by_run[run_id]:
                del self._by_run[run_id]

    def wake(self, run_ids: Iterable[str]) -> None:
        """Wake whoever watches these runs, and whoever waits for progress."""
        for watch in self._on_progress:
            watch.wake()
        for run_id in run_ids:
            for watch in self._by_run.get(run_id, ()):
                watch.wake()

    def wake_all(self) -> None:
        """Wake everyone."""
        self.wake(list(self._by_run))

    @staticmethod
    async def announce(session: AsyncSession, run_ids: Iterable[str]) -> None:
        """Tell every process, when the session's transaction commits, that these runs changed."""
        await session.execute(select(func.pg_notify(CHANNEL, payload_for(run_ids))))

    async def run(self) -> None:
        """Listen until cancelled; connects again for as long as it takes."""
        while True:
            try:
                await self._listen()
            except DRIVER_ERRORS as error:
                log.warning("live_listener_lost", error=str(error), retry_seconds=_RECONNECT_SECONDS)
            finally:
                self.connected.clear()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        self._lost.clear()
        connection = await asyncpg.connect(
            self._dsn, timeout=5.0, server_settings={"application_name": "runstream-metadata-live"}
        )
        try:
            connection.add_termination_listener(lambda _connection: self._lost.set())
            await connection.add_listener(CHANNEL, self._on_notify)
            self.connected.set()
            # Whatever happened while nobody listened.
            self.wake_all()
            await self._watch_connection(connection)
        finally:
            await _close(connection)

    async def _watch_connection(self, connection: asyncpg.Connection) -> None:
        while not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KEEPALIVE_SECONDS):
                    await self._lost.wait()
            if not self._lost.is_set():
                await connection.execute("SELECT 1", timeout=_KEEPALIVE_SECONDS)

    def _on_notify(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        if text == ALL_RUNS:
            self.wake_all()
        else:
            self.wake(text[i : i + _RUN_ID_LENGTH] for i in range(0, len(text), _RUN_ID_LENGTH))


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=2.0)
    except DRIVER_ERRORS:
        connection.terminate()
