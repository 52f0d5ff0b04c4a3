"""What a file that somebody announces must be."""

from __future__ import annotations

import mimetypes
import re
from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument

from runstream_artifact.entities import MAX_FILE_BYTES, NewFile
from runstream_artifact.errors import PathConflict
from runstream_artifact.paths import base_name, conflict_within, file_path

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_CONTENT_TYPE = "application/octet-stream"
MAX_CONTENT_TYPE_LENGTH = 255

_DIGEST = re.compile(r"[0-9a-f]{64}")
# RFC 9110, section 8.3.1: type/subtype and parameters; printable ASCII, as it becomes a header.
_CONTENT_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+( *; *[\x20-\x7e]+)?", re.ASCII)
_MIME_TYPES = mimetypes.MimeTypes()
"""Python's own table alone, so that every machine guesses the same."""


def new_file(path: str, size_bytes: int, digest: str, content_type: str, field: str) -> NewFile:
    """The file, checked.

    Raises:
        InvalidArgument: naming what is wrong.
    """
    checked = file_path(path, f"{field}.path")
    if not 0 <= size_bytes <= MAX_FILE_BYTES:
        raise InvalidArgument.of(f"{field}.size_bytes", f"must be 0 to {MAX_FILE_BYTES} (5 TiB)")
    if _DIGEST.fullmatch(digest) is None:
        raise InvalidArgument.of(f"{field}.digest", "must be a SHA-256: 64 lowercase hexadecimal characters")
    media_type = content_type_of(checked, content_type, f"{field}.content_type")
    return NewFile(checked, size_bytes, bytes.fromhex(digest), media_type)


def content_type_of(path: str, content_type: str, field: str) -> str:
    """The media type that was given, or what the path makes one think of.

    Raises:
        InvalidArgument: it has another form.
    """
    if content_type and (
        len(content_type) > MAX_CONTENT_TYPE_LENGTH or _CONTENT_TYPE.fullmatch(content_type) is None
    ):
        raise InvalidArgument.of(field, "must be a media type such as text/plain")
    return content_type or _guessed(path)


def check_together(files: Sequence[NewFile]) -> None:
    """Refuse files that cannot all be there.

    Raises:
        InvalidArgument: a path comes twice.
        PathConflict: one would be a directory of another.
    """
    first: dict[str, int] = {}
    for index, file in enumerate(files):
        if first.setdefault(file.path, index) != index:
            raise InvalidArgument.of(
                f"files[{index}].path", f"is the same as files[{first[file.path]}].path: {file.path!r}"
            )
    conflict = conflict_within(first)
    if conflict is not None:
        raise PathConflict(*conflict)


def _guessed(path: str) -> str:
    guessed, encoding = _MIME_TYPES.guess_type(base_name(path))
    # The type is that of what is inside: x.tar.gz is not a tar.
    return DEFAULT_CONTENT_TYPE if encoding or not guessed else guessed
