"""Signed requests to the object store, sent by the gateway: bytes pass through, a piece at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from runstream_common.object_store.errors import (
    ObjectStoreFull,
    ObjectStoreUnavailable,
    UploadNotFound,
)
from yarl import URL

from runstream_gateway.files.addresses import absolute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

CONNECTIONS = 128
"""To the object store at once, of one process."""
BUFFER_BYTES = 1024 * 1024
"""Read ahead of a client that takes its time."""
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 120.0
"""The store may flush a large part to its disks before it answers."""
KEEP_ALIVE_SECONDS = 30.0
"""Shorter than any store's own, so that no request meets a connection that is being closed."""

_NOT_FOUND = 404
_INSUFFICIENT_STORAGE = 507


class ObjectRequests:
    """Sends requests to the object store.

    Args:
        host: what URLs without a host mean.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Connects when first used."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
            ),
            read_bufsize=BUFFER_BYTES,
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: AsyncIterator[bytes] | bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request as it was signed; the answer's body is still to be read.

        Args:
            method: as signed.
            url: as signed; a missing host means the artifact service's.
            headers: as signed, and Range.
            content: the body.

        Raises:
            ObjectStoreUnavailable: it cannot be reached, or broke off.
        """
        if self._session is None:
            raise ObjectStoreUnavailable("the gateway is not started")
        target = URL(absolute(url, self._host), encoded=True)
        try:
            async with self._session.request(
                method, target, headers=headers, data=content, allow_redirects=False
            ) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ObjectStoreUnavailable(
                f"the object store cannot be reached: {type(error).__name__}", retry_after_seconds=1.0
            ) from error


async def require_success(answer: aiohttp.ClientResponse) -> None:
    """Return when the store did what was asked.

    Raises:
        ObjectStoreFull: it has no room.
        UploadNotFound: the upload ended meanwhile.
        ObjectStoreUnavailable: it refused or failed otherwise.
    """
    if answer.ok:
        return
    if answer.status == _INSUFFICIENT_STORAGE:
        raise ObjectStoreFull("the object store has no room for more")
    if answer.status == _NOT_FOUND:
        raise UploadNotFound("the upload was given up meanwhile")
    raise ObjectStoreUnavailable(f"the object store answered {answer.status}", retry_after_seconds=1.0)
