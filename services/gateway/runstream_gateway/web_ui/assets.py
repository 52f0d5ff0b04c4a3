"""Files of the web UI, read and compressed when they are first asked for, and then kept in memory."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isal import isal_zlib

if TYPE_CHECKING:
    from pathlib import Path

_GZIP_WBITS = 31
_LEVEL = 3
"""isal's best: made once, sent often."""
_LEAST_SAVING = 0.95

# Answers forbid browsers to guess types, and the machine's own table may lack these or hold others.
_TYPES = {
    ".cjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".eot": "application/vnd.ms-fontobject",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Args:
        body: its bytes.
        packed: the same as gzip; None when that is hardly smaller.
        content_type: with the charset where it has one.
        etag: weak, since it stands for both forms.
    """

    body: bytes
    packed: bytes | None
    content_type: str
    etag: str


class Assets:
    """Every file below a folder. Only names that were there at the start are served, so no name leads out of it.

    Args:
        folder: the build.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file() and path.resolve().is_relative_to(folder.resolve())
        }
        self._loaded: dict[str, asyncio.Task[Asset]] = {}

    async def get(self, name: str) -> Asset | None:
        """The file of a name such as ``static/js/main.js``; None when there is none."""
        path = self._paths.get(name)
        if path is None:
            return None
        task = self._loaded.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._loaded[name] = asyncio.create_task(asyncio.to_thread(_load, path))
        # Shielded, since others may wait for it too.
        return await asyncio.shield(task)


def _load(path: Path) -> Asset:
    body = path.read_bytes()
    packed: bytes | None = isal_zlib.compress(body, _LEVEL, _GZIP_WBITS)
    if packed is None or len(packed) > len(body) * _LEAST_SAVING:
        packed = None
    suffix = path.suffix.lower()
    content_type = _TYPES.get(suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(body, packed, content_type, f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"')
