"""Page tokens: the position of the last row, bound to the search that gave it.

Opaque to clients. The checksum finds damage; it is no signature, so what is read back is checked like any input:
a forged token can only name another place in the same order.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from runstream_contract.names import is_run_id

from runstream_common.search.keyset import PRESENT, KeyAt, KeyShape, Position
from runstream_common.search.problems import InvalidPageToken

if TYPE_CHECKING:
    from collections.abc import Sequence

_VERSION = 1
_CHECKSUM_BYTES = 8
_SEARCH_BYTES = 12
_INT64 = range(-(2**63), 2**63)


class _Token(msgspec.Struct, array_like=True):
    version: int
    search: bytes
    ranks: list[int]
    values: list[int | float | str | None]


def search_digest(*parts: object) -> bytes:
    """What a token must have in common with the search that it comes back with."""
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=_SEARCH_BYTES).digest()


def encode_token(search: bytes, position: Position) -> str:
    """The token for the rows behind a position."""
    values = [at.value.hex if isinstance(at.value, UUID) else at.value for at in position]
    body = msgspec.msgpack.encode(_Token(_VERSION, search, [at.rank for at in position], values))
    return base64.urlsafe_b64encode(_checksum(body) + body).rstrip(b"=").decode()


def decode_token(token: str, search: bytes, shapes: Sequence[KeyShape]) -> Position | None:
    """The position that a token holds; None for the empty token of a first page.

    Args:
        search: digest of the search that the token comes with.
        shapes: of the order's keys.

    Raises:
        InvalidPageToken: it is damaged or comes from another search.
    """
    if not token:
        return None
    content = _content(token)
    if content.version != _VERSION or content.search != search:
        raise InvalidPageToken(
            "belongs to another search; filter, order, view and experiments must stay the same"
        )
    if not len(content.ranks) == len(content.values) == len(shapes):
        raise InvalidPageToken("is damaged")
    return tuple(map(_key_at, content.ranks, content.values, shapes))


def _content(token: str) -> _Token:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        body = raw[_CHECKSUM_BYTES:]
        if raw[:_CHECKSUM_BYTES] != _checksum(body):
            raise InvalidPageToken("is damaged")
        return msgspec.msgpack.decode(body, type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise InvalidPageToken("is damaged") from error


def _key_at(rank: int, value: object, shape: KeyShape) -> KeyAt:
    if rank != PRESENT:
        if value is not None or not PRESENT < rank <= shape.highest_rank:
            raise InvalidPageToken("is damaged")
        return KeyAt(rank)
    if shape.python_type is UUID:
        if not isinstance(value, str) or not is_run_id(value):
            raise InvalidPageToken("is damaged")
        return KeyAt(PRESENT, UUID(hex=value))
    if type(value) is not shape.python_type or not _storable(value):
        raise InvalidPageToken("is damaged")
    return KeyAt(PRESENT, value)


def _storable(value: object) -> bool:
    if isinstance(value, int):
        return value in _INT64
    return not (isinstance(value, str) and "\0" in value)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()
