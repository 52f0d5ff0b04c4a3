"""Between our messages and rows of the queue table: the key is a header there, and values are compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zstandard

from runstream_common.bus.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_common.bus.messages import Outgoing

KEY = "bus-key"
ENCODING = "bus-encoding"
ZSTD = "zstd"
MIN_COMPRESSED_BYTES = 512
"""Smaller values fit into the row anyway."""

MAX_VALUE_BYTES = 64 * 1024 * 1024
"""What a value may decompress to: four times the largest message, so a damaged row cannot exhaust memory."""

_LEVEL = 1
_compressor = zstandard.ZstdCompressor(level=_LEVEL)
_decompressor = zstandard.ZstdDecompressor()


def encode(outgoing: Outgoing) -> tuple[bytes, dict[str, str]]:
    """The payload and headers of a row."""
    headers = {**outgoing.headers, KEY: outgoing.key}
    value = outgoing.value
    if len(value) >= MIN_COMPRESSED_BYTES:
        compressed = _compressor.compress(value)
        if len(compressed) < len(value):
            headers[ENCODING] = ZSTD
            return compressed, headers
    return value, headers


def decode_value(payload: bytes, headers: Mapping[str, str]) -> bytes:
    """The value that was published."""
    if headers.get(ENCODING) != ZSTD:
        return payload
    return _decompressor.decompress(payload, max_output_size=MAX_VALUE_BYTES)


def decoded_size_bytes(payload: bytes, headers: Mapping[str, str]) -> int:
    """How large ``decode_value`` makes a payload, read from its first bytes."""
    if headers.get(ENCODING) != ZSTD:
        return len(payload)
    return int(zstandard.frame_content_size(payload))


def decode(row: Any, topic: str) -> Message:
    """A row as a handler receives it.

    Args:
        row: of the queue table; ``id``, ``payload``, ``headers`` and ``created_at`` are read.
        topic: the name without the deployment's prefix.
    """
    headers = row.headers or {}
    return Message(
        topic=topic,
        key=headers.get(KEY, ""),
        value=decode_value(row.payload, headers),
        headers=_plain_headers(headers),
        partition=0,
        offset=row.id,
        timestamp_ms=int(row.created_at.timestamp() * 1000),
    )


def _plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without our own two."""
    return {name: value for name, value in headers.items() if name not in (KEY, ENCODING)}
