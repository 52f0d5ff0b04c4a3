"""Page tokens of histories: the last point of a page, bound to what was asked for.

Opaque to clients. The checksum finds damage and mix-ups; a forged token can only name another place in the same history.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import TYPE_CHECKING, Final

from runstream_common.errors import InvalidArgument

from runstream_metadata.metrics import Point

if TYPE_CHECKING:
    from runstream_metadata.histories import StepRange

_CHECKSUM_BYTES: Final = 8
_POINT: Final = struct.Struct("<qqd")


def encode_token(run_id: str, key: str, steps: StepRange, last: Point) -> str:
    """The token for the points behind ``last``."""
    body = _POINT.pack(last.step, last.timestamp_ms, last.value)
    return base64.urlsafe_b64encode(_checksum(run_id, key, steps, body) + body).decode()


def decode_token(token: str, run_id: str, key: str, steps: StepRange) -> Point | None:
    """The last point of the page before; None for the empty token of the first page.

    Raises:
        InvalidArgument: reason INVALID_PAGE_TOKEN: it is damaged or comes from another history.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid() from error
    body = raw[_CHECKSUM_BYTES:]
    if len(body) != _POINT.size or raw[:_CHECKSUM_BYTES] != _checksum(run_id, key, steps, body):
        raise _invalid()
    return Point(*_POINT.unpack(body))


def _checksum(run_id: str, key: str, steps: StepRange, body: bytes) -> bytes:
    asked = f"{run_id}\0{key}\0{steps.start}\0{steps.end}\0".encode()
    return hashlib.blake2b(asked + body, digest_size=_CHECKSUM_BYTES).digest()


def _invalid() -> InvalidArgument:
    return InvalidArgument.of(
        "page_token",
        "must be the next_page_token of the same run, key and step range",
        reason="INVALID_PAGE_TOKEN",
    )
