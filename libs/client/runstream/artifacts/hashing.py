"""SHA-256 and CRC32 of what is sent; both release the interpreter's lock while they work."""

from __future__ import annotations

import base64
import hashlib
import threading
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runstream.artifacts.cancelling import Cancellation
    from runstream.artifacts.sources import Source


class Hasher:
    """SHA-256 of sources, each file read once; thread-safe.

    Args:
        cancellation: ends it early.
    """

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._lock = threading.Lock()
        self._known: dict[object, str] = {}

    def sha256(self, source: Source) -> str:
        """Digest of the content, 64 lowercase hexadecimal characters.

        Raises:
            LocalFileChanged: the file was written to meanwhile.
            LocalFileUnreadable: it cannot be read.
        """
        identity = source.identity
        if identity is not None and identity in self._known:
            return self._known[identity]
        digest = hashlib.sha256()
        for chunk in source.chunks(0, source.size_bytes):
            self._cancellation.check()
            digest.update(chunk)
        source.check_unchanged()
        if identity is not None:
            with self._lock:
                self._known[identity] = digest.hexdigest()
        return digest.hexdigest()


def crc32_base64(source: Source, start: int, end: int, cancellation: Cancellation) -> str:
    """CRC32 of a part as S3 writes it: 4 bytes big endian in base64 (x-amz-checksum-crc32)."""
    checksum = 0
    for chunk in source.chunks(start, end):
        cancellation.check()
        checksum = zlib.crc32(chunk, checksum)
    return base64.b64encode(checksum.to_bytes(4, "big")).decode()
