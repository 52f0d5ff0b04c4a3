"""Reading a whole object and hashing it: ranges are fetched ahead while the one before is hashed, in flat memory."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

from runstream_common.object_store.api import HashedContent

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from minio import Minio

RANGE_BYTES = 8 * 1024 * 1024
"""What is fetched at once; larger gained nothing."""
READ_AHEAD = 2
"""Ranges on their way while one is hashed."""
ATTEMPTS = 3
"""At one range, when the connection breaks within it; the client itself only repeats what failed before the body."""


def hash_object(
    client: Minio, bucket: str, key: str, size_bytes: int, check_running: Callable[[], None]
) -> HashedContent:
    """Read and hash an object.

    Args:
        client: to the server.
        bucket: its bucket.
        key: its key.
        size_bytes: its size; an object that was replaced by a smaller one meanwhile gives a smaller one back.
        check_running: raises when the work is to be given up.
    """
    digest = hashlib.sha256()
    hashed_bytes = 0
    offsets = iter(range(0, size_bytes, RANGE_BYTES))
    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="object-store-hash") as readers:
        pending: deque[Future[bytes]] = deque()
        while True:
            check_running()
            while len(pending) < READ_AHEAD and (offset := next(offsets, None)) is not None:
                pending.append(readers.submit(read_range, client, bucket, key, offset, RANGE_BYTES))
            if not pending:
                return HashedContent(digest.digest(), hashed_bytes)
            piece = pending.popleft().result()
            digest.update(piece)
            hashed_bytes += len(piece)


def read_range(client: Minio, bucket: str, key: str, offset: int, length: int) -> bytes:
    """The bytes of a range, fewer where the object ends."""
    for attempt in range(1, ATTEMPTS + 1):
        response = client.get_object(bucket, key, offset=offset, length=length)
        try:
            return bytes(response.read())
        except HTTPError:
            if attempt == ATTEMPTS:
                raise
        finally:
            response.close()
            response.release_conn()
    raise AssertionError("every attempt returns or raises")
