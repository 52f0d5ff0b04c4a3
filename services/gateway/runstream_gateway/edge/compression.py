"""Answers compressed with gzip, for clients that take it."""

from __future__ import annotations

import asyncio
from functools import lru_cache

from isal import isal_zlib

from runstream_gateway.edge.bodies import OFF_LOOP_BYTES

LEAST_BYTES = 1024
"""Less does not pay: it fits one packet either way."""
LEVEL = 1
_GZIP_WBITS = 31

_WORTH_IT = (
    b"application/json",
    b"text/",
    b"application/javascript",
    b"image/svg+xml",
    b"application/openapi",
)


@lru_cache(maxsize=512)
def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether a client takes gzip (RFC 9110, 12.5.3): named without q=0, or covered by `*`."""
    star = False
    for item in accept_encoding.lower().split(b","):
        name, _, parameters = item.partition(b";")
        taken = not _is_zero(parameters)
        if name.strip() in (b"gzip", b"x-gzip"):
            return taken
        if name.strip() == b"*":
            star = taken
    return star


def _is_zero(parameters: bytes) -> bool:
    name, _, value = parameters.strip().partition(b"=")
    return name.strip() == b"q" and not value.strip(b" 0.")


@lru_cache(maxsize=512)
def is_worth_it(content_type: bytes) -> bool:
    """Whether bodies of a type shrink: text does, pictures and archives do not. Event streams are left alone."""
    return content_type.startswith(_WORTH_IT) and not content_type.startswith(b"text/event-stream")


async def gzipped(body: bytes) -> bytes:
    """The body compressed; a big one in a thread, so that other requests go on."""
    if len(body) < OFF_LOOP_BYTES:
        return compress(body)
    return await asyncio.to_thread(compress, body)


def compress(body: bytes, level: int = LEVEL) -> bytes:
    """The body as gzip.

    Args:
        body: any bytes.
        level: 0 to 3, isal's scale.
    """
    packed: bytes = isal_zlib.compress(body, level, _GZIP_WBITS)
    return packed
