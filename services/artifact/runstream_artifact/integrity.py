"""Comparing what the object store holds with what was recorded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from runstream_artifact.entities import StoredFile
from runstream_artifact.store import blob_repository, file_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_common.database import Database
    from runstream_common.object_store.api import ObjectStore

    from runstream_artifact.entities import Blob, Owner

MAX_PROBLEMS = 1_000
"""Problems told of; what is wrong beyond is counted as compared, no more."""

PAGE_FILES = 1_000


class Problem(NamedTuple):
    """A file that is not as recorded."""

    path: str
    reason: str
    message: str


class Report(NamedTuple):
    """What a comparison found."""

    verified_count: int
    verified_bytes: int
    problems: Sequence[Problem]


class Integrity:
    """Compares; changes nothing.

    Args:
        parallel: objects looked at side by side.
        hashing_parallel: objects read side by side.
    """

    def __init__(
        self, database: Database, store: ObjectStore, *, parallel: int, hashing_parallel: int
    ) -> None:
        self._database = database
        self._store = store
        self._slots = asyncio.Semaphore(parallel)
        self._hashing = asyncio.Semaphore(hashing_parallel)

    async def verify(self, owner: Owner, paths: Sequence[str], *, read_content: bool) -> Report:
        """Compare files with the store.

        Args:
            paths: files or directories that must be there; none means whatever is there.
            read_content: hash every byte, instead of comparing size and the store's own checksum.

        Raises:
            Unavailable: the object store is away.
        """
        async with self._database.driver() as connection:
            tree = await file_queries.select_tree(connection, owner)
        problems: list[Problem] = []
        count = size_bytes = 0
        for path in _outermost(paths) if paths else [""]:
            seen = 0
            async for page in self._pages(None if tree is None else tree[0], path):
                seen += len(page)
                size_bytes += sum(file.size_bytes for file in page)
                problems += await self._compare(page, read_content=read_content)
            if path and not seen:
                problems.append(Problem(path, "MISSING", f"{owner} has no file or directory {path!r}"))
            count += seen
        return Report(count, size_bytes, problems[:MAX_PROBLEMS])

    async def _pages(self, tree_id: int | None, path: str) -> AsyncIterator[Sequence[StoredFile]]:
        if tree_id is None:
            return
        async with self._database.driver() as connection:
            entry = await file_queries.select_entry(connection, tree_id, path) if path else None
        if isinstance(entry, StoredFile):
            yield [entry]
            return
        first = ""
        while True:
            # A connection is not kept while objects are read.
            async with self._database.driver() as connection:
                page = await file_queries.select_all_below(connection, tree_id, path, first, PAGE_FILES)
            if page:
                yield page
            if len(page) < PAGE_FILES:
                return
            first = f"{page[-1].path}\x01"

    async def _compare(self, files: Sequence[StoredFile], *, read_content: bool) -> list[Problem]:
        async with self._database.driver() as connection:
            blobs = await blob_repository.select_blobs(connection, (file.digest for file in files))
        check = self._read if read_content else self._look
        found = await asyncio.gather(*(check(blob) for blob in blobs.values()))
        wrong = {digest: problem for digest, problem in zip(blobs, found, strict=True) if problem is not None}
        return [Problem(file.path, *wrong[file.digest]) for file in files if file.digest in wrong]

    async def _look(self, blob: Blob) -> tuple[str, str] | None:
        async with self._slots:
            stat = await self._store.stat(blob.object_key)
        if stat is None:
            return _missing(blob)
        return _difference(blob, stat.size_bytes, stat.sha256 or blob.digest)

    async def _read(self, blob: Blob) -> tuple[str, str] | None:
        async with self._hashing:
            content = await self._store.hash_content(blob.object_key)
        if content is None:
            return _missing(blob)
        return _difference(blob, content.size_bytes, content.sha256)


def _outermost(paths: Sequence[str]) -> list[str]:
    """The paths without repeats and without those below another one."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: f"{path}/"):
        if not kept or not path.startswith(f"{kept[-1]}/"):
            kept.append(path)
    return kept


def _missing(blob: Blob) -> tuple[str, str]:
    return "MISSING", f"the object store has no {blob.object_key}"


def _difference(blob: Blob, size_bytes: int, digest: bytes) -> tuple[str, str] | None:
    if size_bytes != blob.size_bytes:
        return "SIZE_MISMATCH", f"has {size_bytes} bytes instead of {blob.size_bytes}"
    if digest != blob.digest:
        return "CHECKSUM_MISMATCH", f"has SHA-256 {digest.hex()} instead of {blob.digest.hex()}"
    return None
