"""Contents in the object store: parts sent, ranges fetched, by whichever way is shortest."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from runstream_common.errors import Internal

from runstream_gateway.files.object_requests import ObjectRequests, require_success

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from runstream_proto.artifact.v1 import types_pb2 as types

    from runstream_gateway.files.local_objects import LocalObjects


class Objects:
    """Moves contents.

    Args:
        requests: to the object store over HTTP.
        local: its folder, when this process sees it.
    """

    def __init__(self, requests: ObjectRequests, local: LocalObjects | None) -> None:
        self.requests = requests
        self._local = local

    async def start(self) -> None:
        """Connects when first used."""
        await self.requests.start()

    async def stop(self) -> None:
        """Close connections and threads."""
        await self.requests.stop()
        if self._local is not None:
            self._local.stop()

    async def put_part(
        self, request: types.SignedRequest, content: AsyncIterator[bytes], size_bytes: int | None
    ) -> str:
        """Send one part; returns its etag.

        Args:
            request: signed for services.
            content: of the part.
            size_bytes: its size; None when that is not known.

        Raises:
            PlatformError: the store has no room, is away, or the upload was given up.
        """
        if self._local is not None:
            writer = await self._local.begin_part(request.url, size_bytes)
            if writer is not None:
                return await self._local.write(writer, content)
        headers = dict(request.headers)
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        async with self.requests.send(request.method, request.url, headers, content) as answer:
            await require_success(answer)
            await answer.read()
            return answer.headers.get("ETag", "")

    async def read(
        self, request: types.SignedRequest, first: int, end: int, size_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        """Bytes of an object, in pieces.

        Args:
            request: signed for services.
            first: offset of the first byte.
            end: offset behind the last byte.
            size_bytes: of the whole object.

        Raises:
            PlatformError: it cannot be had, or there are fewer.
        """
        opened = None if self._local is None else await self._local.open(request.url, size_bytes)
        if self._local is not None and opened is not None:
            async with aclosing(self._local.read(opened, first, end)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        headers = dict(request.headers)
        if end - first < size_bytes:
            headers["Range"] = f"bytes={first}-{end - 1}"
        left = end - first
        async with self.requests.send(request.method, request.url, headers) as answer:
            await require_success(answer)
            async for piece in answer.content.iter_any():
                left -= len(piece)
                yield piece
        if left:
            raise Internal("the object store sent another number of bytes than the file has")
