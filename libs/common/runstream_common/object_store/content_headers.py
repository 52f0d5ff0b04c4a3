"""Headers that say what a download is."""

from __future__ import annotations

import re
from urllib.parse import quote

_UNSAFE = re.compile(r"[^A-Za-z0-9 !#$&+.^_`|~(),=@\[\]{}-]")


def content_disposition(file_name: str) -> str:
    """The header that makes a browser save a file under a name (RFC 6266): printable ASCII whatever the name.

    Args:
        file_name: any Unicode.
    """
    plain = _UNSAFE.sub("_", file_name)
    extended = quote(file_name.encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}"
