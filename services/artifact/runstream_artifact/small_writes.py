"""Small files whose bytes come with the call."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from runstream_common.object_store.keys import blob_key

from runstream_artifact.entities import Blob, StoredFile
from runstream_artifact.store import blob_repository, file_queries
from runstream_artifact.tree_events import NewlyVisible
from runstream_artifact.trees import lock_writable, refuse_conflicts, store_files

if TYPE_CHECKING:
    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database
    from runstream_common.object_store.api import ObjectStore

    from runstream_artifact.open_uploads import OpenFile
    from runstream_artifact.owners import Owners


class SmallWrites:
    """Stores small files; owns the transaction."""

    def __init__(self, database: Database, store: ObjectStore, owners: Owners, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._owners = owners
        self._clock = clock

    async def write(self, file: OpenFile, content: bytes) -> StoredFile:
        """Store content as a file; storing the same again changes nothing.

        Raises:
            RunNotFound, RunDeleted, TreeSealed: the owner takes no files.
            PathConflict: the path is a directory, or lies below a file.
            Unavailable: the object store is away.
        """
        if not file.as_given:
            await self._owners.require_writable(file.owner)
        digest = hashlib.sha256(content).digest()
        async with self._database.driver() as connection:
            known = await blob_repository.select_blobs(connection, [digest])
        blob = Blob(digest, len(content), blob_key(digest))
        if not known:
            # Only content with this digest is ever put there, so that a repeat or a rival changes nothing.
            await self._store.put(blob.object_key, content, sha256=digest, content_type=file.content_type)
        async with self._database.driver() as connection, connection.transaction():
            return await self._make_visible(connection, file, blob, is_known=bool(known))

    async def _make_visible(
        self, connection: Connection, file: OpenFile, blob: Blob, *, is_known: bool
    ) -> StoredFile:
        now_ms = self._clock.now_ms()
        stored = StoredFile(file.path, blob.size_bytes, blob.digest, file.content_type, now_ms)
        tree = await lock_writable(connection, file.owner)
        there = (await file_queries.select_files(connection, tree.tree_id, [file.path])).get(file.path)
        if there is not None:
            if (there.digest, there.content_type) == (blob.digest, file.content_type):
                return there
        else:
            await refuse_conflicts(connection, tree.tree_id, [file.path])
        is_new = not is_known and await blob_repository.insert_blob(connection, blob, now_ms)
        await store_files(
            connection, file.owner, tree.tree_id, [NewlyVisible(stored, deduplicated=not is_new)], now_ms
        )
        return stored
