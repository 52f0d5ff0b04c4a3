"""Bodies between a client and the disk, piece by piece: flat memory, and no client waits or is waited for for ever."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import ClientPayloadError

from runstream_common.errors import PlatformError
from runstream_common.object_store import metrics
from runstream_common.object_store.local_answers import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from runstream_common.object_store.workers import Workers

log = structlog.get_logger(__name__)

PIECE_BYTES = 512 * 1024
"""What goes to or comes from the disk at once; a body of this size or less needs one step."""
MIN_BYTES_PER_SECOND = 16 * 1024
"""A client that is slower on the whole is given up, so that a trickle does not hold a place."""


_INCOMPLETE = Refusal(400, "IncompleteBody", "The body is shorter than its headers say")


class Writer(Protocol):
    """Where a body goes; every method blocks."""

    def write(self, content: list[bytes]) -> None:
        """Append."""
        ...

    def finish(self) -> str:
        """Check and keep what was written; returns the etag."""
        ...

    def close(self) -> None:
        """Release what is held, and drop what was not finished."""
        ...


@dataclass(frozen=True, slots=True)
class Transfers:
    """Moves bodies.

    Args:
        workers: threads for everything that touches the disk.
        idle_seconds: how long a client may send or take nothing.
    """

    workers: Workers
    idle_seconds: float

    async def receive(
        self, request: web.BaseRequest, size_bytes: int | None, make_writer: Callable[[], Writer]
    ) -> str:
        """Take a body; returns what ``finish`` did.

        Args:
            request: whose body.
            size_bytes: how long it is; None: it ends where the sender says so.
            make_writer: begins to write it.

        Raises:
            Refusal: it is too short or too slow.
            PlatformError: what the writer raised.
        """
        try:
            async with asyncio.timeout(None if size_bytes is None else self._longest_seconds(size_bytes)):
                if size_bytes is None or size_bytes > PIECE_BYTES:
                    return await self._receive_pieces(request, size_bytes, make_writer)
                content = await self._piece(request, size_bytes)
            return await self.workers.run("write", _write_whole, make_writer, content)
        except TimeoutError:
            raise Refusal(400, "RequestTimeout", "Too little was received for too long") from None
        finally:
            metrics.RECEIVED_BYTES.inc(request.content.total_bytes)

    async def _receive_pieces(
        self, request: web.BaseRequest, size_bytes: int | None, make_writer: Callable[[], Writer]
    ) -> str:
        writer = await self.workers.run("write", make_writer)
        writing: asyncio.Future[None] | None = None
        try:
            async for content in self._pieces(request, size_bytes):
                # The next piece is received while the one before goes to the disk.
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(self.workers.run("write", writer.write, content))
            if writing is not None:
                await writing
            return await self.workers.run("write", writer.finish)
        finally:
            # The thread must be done with the file before it is closed, even when this task is being cancelled.
            await _settled(writing)
            await self.workers.run("write", writer.close)

    async def _pieces(self, request: web.BaseRequest, size_bytes: int | None) -> AsyncIterator[list[bytes]]:
        if size_bytes is None:
            while content := await self._piece(request, PIECE_BYTES, to_the_end=True):
                yield content
            return
        left = size_bytes
        while left:
            content = await self._piece(request, min(left, PIECE_BYTES))
            left -= sum(map(len, content))
            yield content

    async def _piece(
        self, request: web.BaseRequest, wanted_bytes: int, *, to_the_end: bool = False
    ) -> list[bytes]:
        """At least so many bytes of the body (at most one buffer more) as they came in; fewer if it may end before."""
        pieces: list[bytes] = []
        while wanted_bytes > 0:
            try:
                async with asyncio.timeout(self.idle_seconds):
                    piece = await request.content.readany()
            except (ClientPayloadError, ConnectionError):
                raise _INCOMPLETE from None
            if not piece:
                if to_the_end:
                    break
                raise _INCOMPLETE
            pieces.append(piece)
            wanted_bytes -= len(piece)
        return pieces

    async def read(self, descriptor: int, begin: int, end: int) -> bytes:
        """The next piece of a file; empty at the end."""
        wanted = min(end - begin, PIECE_BYTES)
        piece = await self.workers.run("read", os.pread, descriptor, wanted, begin) if wanted else b""
        if wanted and not piece:
            raise ConnectionError("the file became shorter")
        return piece

    async def send(
        self, request: web.BaseRequest, response: web.StreamResponse, descriptor: int, begin: int, end: int
    ) -> None:
        """Send a part of a file; what goes wrong midway breaks the connection, which the client sees."""
        await response.prepare(request)
        reading = asyncio.ensure_future(self.read(descriptor, begin, end))
        try:
            async with asyncio.timeout(self._longest_seconds(end - begin)):
                while begin < end:
                    piece = await reading
                    begin += len(piece)
                    reading = asyncio.ensure_future(self.read(descriptor, begin, end))
                    async with asyncio.timeout(self.idle_seconds):
                        await response.write(piece)
                    metrics.SENT_BYTES.inc(len(piece))
                await response.write_eof()
        except (TimeoutError, ConnectionError, PlatformError) as error:
            # The status is sent: there is no other way left to say that the rest will not come.
            log.info("download_broken_off", reason=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        finally:
            await _settled(reading)

    def _longest_seconds(self, size_bytes: int) -> float:
        return self.idle_seconds + size_bytes / MIN_BYTES_PER_SECOND


async def _settled(future: asyncio.Future[Any] | None) -> None:
    """Wait until it ended; its error is someone else's or comes too late."""
    if future is not None:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()


def _write_whole(make_writer: Callable[[], Writer], content: list[bytes]) -> str:
    writer = make_writer()
    try:
        writer.write(content)
        return writer.finish()
    finally:
        writer.close()
