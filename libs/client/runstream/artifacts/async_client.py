"""`AsyncClient.artifacts`: the methods of `runstream.artifacts.client.Artifacts`, awaited; described there.

Transfers are work for threads, so each method runs in one, over blocking channels of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from runstream.artifacts.client import Artifacts
from runstream.connection import Connection

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from runstream.artifacts.progress import Progress
    from runstream.artifacts.results import Artifact, Downloaded, Tree, Uploaded, Verification

T = TypeVar("T")


class AsyncArtifacts:
    """Files of runs, logged models, model versions and traces, from one event loop.

    Args:
        target: "host:port" of the deployment.
        timeout_seconds: deadline of a call to the service.
    """

    def __init__(self, target: str, timeout_seconds: float) -> None:
        self._connection = Connection(target)
        self._artifacts = Artifacts(self._connection, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Close channels and idle connections."""
        self._artifacts.close()
        self._connection.close()

    async def list(self, place: str, path: str = "", *, recursive: bool = False) -> AsyncIterator[Artifact]:
        """Iterate over a directory by path; pages are read as they are needed."""
        artifacts: Iterator[Artifact] = self._artifacts.list(place, path, recursive=recursive)
        while (artifact := await asyncio.to_thread(next, artifacts, None)) is not None:
            yield artifact

    async def stat(self, place: str, path: str = "") -> Artifact:
        """Read the entry of one file or directory; raises NotFound."""
        return await _in_thread(self._artifacts.stat, place, path)

    async def exists(self, place: str, path: str = "") -> bool:
        """Whether there is a file or directory."""
        return await _in_thread(self._artifacts.exists, place, path)

    async def usage(self, place: str, path: str = "") -> Tree:
        """Digest, number of files and size of a directory or a whole tree."""
        return await _in_thread(self._artifacts.usage, place, path)

    async def verify(
        self, place: str, path: str = "", *, required: Sequence[str] = (), read_content: bool = False
    ) -> Verification:
        """Have the object store compared with what was recorded."""
        return await _in_thread(
            self._artifacts.verify, place, path, required=required, read_content=read_content
        )

    async def upload(
        self,
        local_path: str | os.PathLike[str],
        place: str,
        path: str = "",
        *,
        skip_special: bool = False,
        progress: Progress = None,
    ) -> Uploaded:
        """Store a file under its name, or the content of a folder."""
        return await _in_thread(
            self._artifacts.upload, local_path, place, path, skip_special=skip_special, progress=progress
        )

    async def upload_file(
        self,
        local_path: str | os.PathLike[str],
        place: str,
        path: str = "",
        *,
        content_type: str = "",
        progress: Progress = None,
    ) -> Artifact:
        """Store one file under another name."""
        return await _in_thread(
            self._artifacts.upload_file, local_path, place, path, content_type=content_type, progress=progress
        )

    async def upload_bytes(
        self, content: bytes, place: str, path: str = "", *, content_type: str = ""
    ) -> Artifact:
        """Store bytes as one file."""
        return await _in_thread(self._artifacts.upload_bytes, content, place, path, content_type=content_type)

    async def download(
        self, place: str, path: str = "", *, to: str | os.PathLike[str], progress: Progress = None
    ) -> Downloaded:
        """Fetch a file to a path, or the content of a directory into a folder."""
        return await _in_thread(self._artifacts.download, place, path, to=to, progress=progress)

    async def read_bytes(
        self, place: str, path: str = "", *, offset: int = 0, length: int | None = None
    ) -> bytes:
        """Read a file, or a range of it, into memory."""
        return await _in_thread(self._artifacts.read_bytes, place, path, offset=offset, length=length)

    async def delete(self, place: str, path: str = "") -> int:
        """Delete a file, or a directory with all below it; returns the number of files."""
        return await _in_thread(self._artifacts.delete, place, path)

    async def copy(self, source: str, target: str) -> Tree:
        """Copy a file or directory to another place; no bytes are moved."""
        return await _in_thread(self._artifacts.copy, source, target)

    async def move(self, place: str, source_path: str, target_path: str) -> int:
        """Rename a file or directory within one tree; returns the number of files."""
        return await _in_thread(self._artifacts.move, place, source_path, target_path)

    async def resolve(self, place: str, path: str = "") -> str:
        """The place by id, `runstream://…`: what an alias means now."""
        return await _in_thread(self._artifacts.resolve, place, path)


async def _in_thread(work: Callable[..., T], *args: Any, **options: Any) -> T:
    return await asyncio.to_thread(work, *args, **options)
