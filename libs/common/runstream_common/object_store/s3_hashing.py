"""Reading a whole object and hashing it: ranges are fetched ahead while the one before is hashed, in flat memory."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from runstream_common.object_store.api import HashedContent

if TYPE_CHECKING:
    from concurrent.futures import Future

    from minio import Minio

RANGE_BYTES = 8 * 1024 * 1024
"""What is fetched at once; larger gained nothing."""
READ_AHEAD = 2
"""Ranges on their way while one is hashed."""


def hash_object(client: Minio, bucket: str, key: str, size_bytes: int) -> HashedContent:
    """Read and hash an object.

    Args:
        client: to the server.
        bucket: its bucket.
        key: its key.
        size_bytes: its size; an object that was replaced by a smaller one meanwhile gives a smaller one back.
    """
    digest = hashlib.sha256()
    hashed_bytes = 0
    offsets = iter(range(0, size_bytes, RANGE_BYTES))
    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="object-store-hash") as readers:
        pending: deque[Future[bytes]] = deque()
        while True:
            while len(pending) < READ_AHEAD and (offset := next(offsets, None)) is not None:
                pending.append(readers.submit(read_range, client, bucket, key, offset, RANGE_BYTES))
            if not pending:
                return HashedContent(digest.digest(), hashed_bytes)
            piece = pending.popleft().result()
            digest.update(piece)
            hashed_bytes += len(piece)


def read_range(client: Minio, bucket: str, key: str, offset: int, length: int) -> bytes:
    """The bytes of a range, fewer where the object ends."""
    response = client.get_object(bucket, key, offset=offset, length=length)
    try:
        return response.read()
    finally:
        response.release_conn()
