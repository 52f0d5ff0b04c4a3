"""Where things lie in an object store, and which keys are allowed."""

from __future__ import annotations

import re

from runstream_common.errors import InvalidArgument

MAX_KEY_BYTES = 1024
"""Longest key (S3)."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
"""One name of a key. No leading dot: neither ``..`` nor a hidden file can be written this way."""


def blob_key(digest: bytes) -> str:
    """Key of verified content; in a local store 256 folders share what there is.

    Args:
        digest: SHA-256, 32 bytes.
    """
    text = digest.hex()
    return f"blobs/sha256/{text[:2]}/{text}"


def staging_key(upload_id: str) -> str:
    """Key of content that is not verified yet.

    Args:
        upload_id: the upload's UUID as text.
    """
    return f"uploads/{upload_id}"


def checked_key(key: str) -> str:
    """The key itself if it has the only form that we use: names of ASCII letters, digits and ``-_.`` between slashes.

    Raises:
        InvalidArgument: it has not; so a key is always one path below a folder and one unambiguous URL.
    """
    if len(key) > MAX_KEY_BYTES or not all(_NAME.fullmatch(name) for name in key.split("/")):
        raise InvalidArgument.of("key", "must be names of letters, digits and -_. between slashes")
    return key
