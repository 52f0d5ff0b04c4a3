"""A folder of objects that this process sees too: contents go to and come from it without a detour over HTTP.

Everything that makes a file of a content stays with the artifact service; only bytes take the shorter way. Whatever is not
found here, because the same path is another folder on another machine, is asked for over HTTP.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from runstream_common.errors import Internal
from runstream_common.object_store.errors import ObjectStoreUnavailable, UploadNotFound
from runstream_common.object_store.local_folder import Folder
from runstream_common.object_store.local_open_uploads import OpenUploads
from runstream_common.object_store.local_signing import OPEN_UPLOAD, URL_PREFIX
from runstream_common.object_store.workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from runstream_common.object_store.local_open_uploads import OpenPartWriter

THREADS = 8
PIECE_BYTES = 1024 * 1024
"""What goes to or comes from the disk at once."""


class OpenObject(NamedTuple):
    """An object that is being read."""

    descriptor: int
    size_bytes: int


class LocalObjects:
    """Reads and writes objects.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._folder = Folder(root)
        self._uploads = OpenUploads(self._folder)
        self._workers = Workers(THREADS, place=f"the folder {root}")

    def stop(self) -> None:
        """Release the threads."""
        self._workers.stop()

    async def begin_part(self, url: str, size_bytes: int | None) -> OpenPartWriter | None:
        """Begin to write a part of an open upload; None when the upload is not here.

        Args:
            url: signed, by the artifact service.
            size_bytes: of the part; None when that is not known.
        """
        query = parse_qs(urlsplit(url).query)
        upload_id, number = query.get("uploadId", [""])[0], query.get("partNumber", [""])[0]
        if not upload_id.startswith(OPEN_UPLOAD) or not number.isdigit():
            return None
        try:
            return await self._workers.run("write", self._uploads.receive, upload_id, int(number), size_bytes)
        except (UploadNotFound, ObjectStoreUnavailable):
            return None

    async def write(self, writer: OpenPartWriter, pieces: AsyncIterator[bytes]) -> str:
        """Write a part that was begun; returns its etag.

        Raises:
            ObjectStoreFull: there is no room.
            UploadNotFound: the upload was given up.
            Exception: what the content raised.
        """
        writing: asyncio.Future[None] | None = None
        try:
            async for content in _gathered(pieces):
                # The next piece comes in while the one before goes to the disk.
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(self._workers.run("write", writer.write, content))
            if writing is not None:
                await writing
            return f'"{await self._workers.run("write", writer.finish)}"'
        finally:
            # The thread must be done with the file before it is closed, even when this task is being cancelled.
            await _settled(writing)
            await self._workers.run("write", writer.close)

    async def open(self, url: str, size_bytes: int) -> OpenObject | None:
        """Begin to read an object; None when it is not here.

        Args:
            url: signed, by the artifact service.
            size_bytes: that the object has.
        """
        key = urlsplit(url).path.removeprefix(URL_PREFIX)
        try:
            found = await self._workers.run("read", self._folder.open_object, key)
        except ObjectStoreUnavailable:
            return None
        if found is None:
            return None
        if found[1] != size_bytes:
            os.close(found[0])
            return None
        return OpenObject(*found)

    async def read(self, opened: OpenObject, first: int, end: int) -> AsyncGenerator[bytes, None]:
        """Bytes of an object that was opened, in pieces; it is closed at the end."""
        reading = self._next(opened, first, end)
        try:
            while first < end:
                piece = await reading
                if not piece:
                    raise Internal("a file of the object store became shorter")
                first += len(piece)
                reading = self._next(opened, first, end)
                yield piece
        finally:
            await _settled(reading)
            os.close(opened.descriptor)

    def _next(self, opened: OpenObject, first: int, end: int) -> asyncio.Future[bytes]:
        wanted = min(PIECE_BYTES, end - first)
        return asyncio.ensure_future(self._workers.run("read", os.pread, opened.descriptor, wanted, first))


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """The pieces in groups that are worth a step to the disk."""
    group: list[bytes] = []
    size = 0
    async for piece in pieces:
        group.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


async def _settled(future: asyncio.Future[Any] | None) -> None:
    """Wait until it ended; its error is someone else's or comes too late."""
    if future is not None:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
