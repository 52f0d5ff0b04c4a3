"""Style, script and htmx: a few small files, kept in memory and cached by browsers for good."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from runstream_gateway.replies import json_reply

if TYPE_CHECKING:
    from starlette.requests import Request

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "htmx.min.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


async def static_file(request: Request) -> Response:
    """One file by its name."""
    name = request.path_params["name"]
    if name not in _TYPES:
        return json_reply({"error_code": "ENDPOINT_NOT_FOUND", "message": "no such file"}, status=404)
    # Addresses carry the version: another content has another address.
    fresh = request.query_params.get("v") == asset_version(name)
    caching = "public, max-age=31536000, immutable" if fresh else "no-cache"
    return Response(_content(name), media_type=_TYPES[name], headers={"Cache-Control": caching})


@functools.cache
def asset_version(name: str) -> str:
    """What changes with a file's content."""
    return hashlib.sha256(_content(name)).hexdigest()[:12]


@functools.cache
def _content(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()
