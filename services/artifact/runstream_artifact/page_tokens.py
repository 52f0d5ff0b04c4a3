"""Page tokens of listings: where the next page begins, bound to what was asked for.

Opaque to clients. The checksum finds damage and mix-ups; a forged token can only name another place in the same list.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from runstream_common.errors import InvalidArgument

if TYPE_CHECKING:
    from runstream_artifact.entities import Owner

_CHECKSUM_BYTES: Final = 8


def encode_token(owner: Owner, directory: str, first: str, *, recursive: bool) -> str:
    """The token for a page that begins with the first path not before ``first``."""
    body = first.encode()
    checksum = _checksum(owner, directory, body, recursive=recursive)
    return base64.urlsafe_b64encode(checksum + body).decode()


def decode_token(token: str, owner: Owner, directory: str, *, recursive: bool) -> str:
    """Where the page begins; empty for the empty token of the first page.

    Raises:
        InvalidArgument: reason INVALID_PAGE_TOKEN: it is damaged or comes from another list.
    """
    if not token:
        return ""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        first = raw[_CHECKSUM_BYTES:].decode()
    except (binascii.Error, ValueError) as error:
        raise _invalid() from error
    if raw[:_CHECKSUM_BYTES] != _checksum(owner, directory, raw[_CHECKSUM_BYTES:], recursive=recursive):
        raise _invalid()
    return first


def _checksum(owner: Owner, directory: str, body: bytes, *, recursive: bool) -> bytes:
    asked = f"{owner.kind:d}\0{owner.id}\0{directory}\0{recursive:d}\0".encode()
    return hashlib.blake2b(asked + body, digest_size=_CHECKSUM_BYTES).digest()


def _invalid() -> InvalidArgument:
    return InvalidArgument.of(
        "page_token",
        "must be the next_page_token of the same owner, path and recursive",
        reason="INVALID_PAGE_TOKEN",
    )
