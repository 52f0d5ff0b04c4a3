"""Uploads that were given up or ended: what they left in the object store is deleted, then they are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_artifact.entities import UploadMethod
from runstream_artifact.store import blob_repository, open_upload_repository, upload_repository
from runstream_artifact.upload_plans import object_key, sent_key

if TYPE_CHECKING:
    from runstream_common.database import Database
    from runstream_common.object_store.api import ObjectStore

    from runstream_artifact.entities import OpenUpload, Upload

UPLOADS_AT_ONCE = 200
"""Uploads looked at in one round."""


async def discard(database: Database, store: ObjectStore, upload: Upload) -> None:
    """Delete what an upload that is no longer open has left under its own keys; repeating it is harmless.

    What was sent in one PUT whose checksum the store verified stays: it lies under its digest, where another upload of
    the same content may count on it.
    """
    if upload.method is UploadMethod.SINGLE:
        return
    if upload.method is UploadMethod.STAGED:
        await store.delete(sent_key(upload))
    elif upload.store_upload_id:
        await store.abort_multipart(sent_key(upload), upload.store_upload_id)
    key = object_key(upload)
    async with database.driver() as connection:
        blobs = await blob_repository.select_blobs(connection, [upload.digest])
    # No blob can come to refer to the key any more: that takes an open upload.
    if upload.digest not in blobs or blobs[upload.digest].object_key != key:
        await store.delete(key)


async def discard_open(database: Database, store: ObjectStore, upload: OpenUpload) -> None:
    """The same for an upload whose digest was not known when it began."""
    if upload.store_upload_id:
        await store.abort_multipart(upload.object_key, upload.store_upload_id)
    if upload.digest is not None:
        async with database.driver() as connection:
            blobs = await blob_repository.select_blobs(connection, [upload.digest])
        if upload.digest in blobs and blobs[upload.digest].object_key == upload.object_key:
            return
    # Either nobody knows its digest, and no blob can come to refer to the key, or somebody else brought the content first.
    await store.delete(upload.object_key)


class UploadExpiry:
    """Gives up uploads that rested too long, and clears away those that ended; any number of replicas may."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store

    async def expire_all(self) -> int:
        """Clear away everything that is due; returns how many uploads.

        Raises:
            Unavailable: the object store or the database is away; what is left is done next time.
        """
        return await self._expire_announced() + await self._expire_open()

    async def _expire_open(self) -> int:
        total = 0
        while True:
            async with self._database.driver() as connection:
                await open_upload_repository.abandon_expired(connection, UPLOADS_AT_ONCE)
                due = await open_upload_repository.select_closed(connection, UPLOADS_AT_ONCE)
            for upload in due:
                await discard_open(self._database, self._store, upload)
            async with self._database.driver() as connection:
                await open_upload_repository.delete_closed(connection, [upload.upload_id for upload in due])
            total += len(due)
            if len(due) < UPLOADS_AT_ONCE:
                return total

    async def _expire_announced(self) -> int:
        total = 0
        while True:
            async with self._database.driver() as connection:
                await upload_repository.abandon_expired(connection, UPLOADS_AT_ONCE)
                due = await upload_repository.select_closed(connection, UPLOADS_AT_ONCE)
            for upload in due:
                await discard(self._database, self._store, upload)
            async with self._database.driver() as connection:
                await upload_repository.delete_closed(connection, [upload.upload_id for upload in due])
            total += len(due)
            if len(due) < UPLOADS_AT_ONCE:
                return total
