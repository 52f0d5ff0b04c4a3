"""The end of an open upload: parts put together, size and digest found out, then everything in one transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import structlog
from runstream_common.errors import PlatformError
from runstream_common.object_store.errors import PartsNotAccepted
from runstream_common.object_store.errors import UploadNotFound as StoreUploadNotFound

from runstream_artifact.entities import Blob, StoredFile, UploadState
from runstream_artifact.errors import PathConflict, TreeSealed
from runstream_artifact.store import blob_repository, open_upload_repository
from runstream_artifact.tree_events import NewlyVisible
from runstream_artifact.trees import lock_writable, refuse_conflicts, store_files
from runstream_artifact.upload_checks import Failure, not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database
    from runstream_common.object_store.api import HashedContent, ObjectStore, StoredPart

    from runstream_artifact.entities import OpenUpload, Owner
    from runstream_artifact.upload_plans import UploadRules

log = structlog.get_logger(__name__)

Outcome: TypeAlias = "HashedContent | Failure"


class SentPart(NamedTuple):
    """A part that the sender says it sent."""

    number: int
    etag: str
    """What the store answered; empty compares nothing."""


class OpenCompletion:
    """Completes open uploads; owns the transaction. What has to be read goes on when its caller leaves.

    Args:
        hashing_parallel: objects read and hashed side by side.
        wait_seconds: longest wait for an object that is being read.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        rules: UploadRules,
        clock: Clock,
        *,
        hashing_parallel: int,
        wait_seconds: float,
    ) -> None:
        self._database = database
        self._store = store
        self._rules = rules
        self._clock = clock
        self._hashing = asyncio.Semaphore(hashing_parallel)
        self._wait_seconds = wait_seconds
        self._reading: dict[str, asyncio.Task[Outcome]] = {}

    async def complete(
        self, upload_id: str, parts: Sequence[SentPart], expected: tuple[Owner, str] | None
    ) -> StoredFile | Failure:
        """Make the content the file that was announced. An upload that was completed lately gives the same file again.

        Args:
            parts: what makes the content; none means what was received.
            expected: owner and path that the upload must have.

        Raises:
            PlatformError: what is not the upload's fault, such as a store that is away.
        """
        async with self._database.driver() as connection:
            upload = await open_upload_repository.renew_upload(
                connection, upload_id, self._rules.keep_seconds
            ) or await open_upload_repository.select_completed(connection, upload_id)
        if upload is None or (expected is not None and (upload.owner, upload.path) != expected):
            return not_found(upload_id)
        if upload.state is UploadState.COMPLETED:
            return _file_of(upload)
        content = await self._content(upload, parts)
        if isinstance(content, Failure):
            return content
        return await self._make_visible(upload, content)

    async def stop(self) -> None:
        """End what is being read; completing again begins anew."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _content(self, upload: OpenUpload, parts: Sequence[SentPart]) -> Outcome:
        task = self._reading.get(upload.upload_id)
        if task is None:
            task = asyncio.create_task(self._put_together(upload, parts), name=f"hash {upload.upload_id}")
            self._reading[upload.upload_id] = task
            task.add_done_callback(lambda done: self._finished(upload.upload_id, done))
        done, _ = await asyncio.wait([task], timeout=self._wait_seconds)
        if not done:
            message = f"{upload.path!r} is being read and hashed; complete again"
            return Failure("VERIFICATION_RUNNING", message, retryable=True)
        try:
            return task.result()
        except PlatformError as error:
            if not error.retryable:
                raise
            return Failure(error.reason, f"{upload.path!r}: {error.message}", retryable=True)

    def _finished(self, upload_id: str, task: asyncio.Task[Outcome]) -> None:
        del self._reading[upload_id]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Told to whoever waits; noted here since the caller may have left.
            log.warning("open_upload_failed", upload_id=upload_id, error=str(error))

    async def _put_together(self, upload: OpenUpload, parts: Sequence[SentPart]) -> Outcome:
        content = None
        try:
            received = await self._store.list_parts(upload.object_key, upload.store_upload_id)
            chosen = _chosen(upload, parts, received)
            if isinstance(chosen, Failure):
                return chosen
            content = await self._store.complete_open(upload.object_key, upload.store_upload_id, chosen)
        except PartsNotAccepted as error:
            return _incomplete(upload, error.message)
        except StoreUploadNotFound:
            log.info("open_upload_is_together_already", upload_id=upload.upload_id)
        if content is None:
            async with self._hashing:
                content = await self._store.hash_content(upload.object_key)
        return content or _incomplete(upload, "the store has none of its parts")

    async def _make_visible(self, upload: OpenUpload, content: HashedContent) -> StoredFile | Failure:
        try:
            async with self._database.driver() as connection, connection.transaction():
                result, own_blob = await self._store_file(connection, upload, content)
        except (TreeSealed, PathConflict) as error:
            reason = "PATH_CONFLICT" if isinstance(error, PathConflict) else "OWNER_NOT_WRITABLE"
            await self._give_up(upload)
            return Failure(reason, error.message)
        if not own_blob:
            await self._delete_spare(upload)
        return result

    async def _store_file(
        self, connection: Connection, upload: OpenUpload, content: HashedContent
    ) -> tuple[StoredFile | Failure, bool]:
        """The file, and whether the upload's object is its content."""
        now_ms = self._clock.now_ms()
        tree = await lock_writable(connection, upload.owner)
        # As it is now: another call may have completed it, or it was given up.
        current = await open_upload_repository.lock_upload(connection, upload.upload_id)
        if current is None or current.state is UploadState.ABANDONED:
            return not_found(upload.upload_id), True
        if current.state is UploadState.COMPLETED:
            return _file_of(current), True
        await refuse_conflicts(connection, tree.tree_id, [upload.path])
        blob = Blob(content.sha256, content.size_bytes, upload.object_key)
        own_blob = await blob_repository.insert_blob(connection, blob, now_ms)
        file = StoredFile(upload.path, content.size_bytes, content.sha256, upload.content_type, now_ms)
        await store_files(
            connection, upload.owner, tree.tree_id, [NewlyVisible(file, deduplicated=not own_blob)], now_ms
        )
        await open_upload_repository.complete_upload(
            connection,
            upload.upload_id,
            content.sha256,
            content.size_bytes,
            now_ms,
            self._rules.url_seconds,
        )
        return file, own_blob

    async def _give_up(self, upload: OpenUpload) -> None:
        async with self._database.driver() as connection:
            await open_upload_repository.abandon_upload(connection, upload.upload_id, 0)
        await self._delete_spare(upload)

    async def _delete_spare(self, upload: OpenUpload) -> None:
        """Delete content that nobody needs; if that fails it is done when the upload is cleared away."""
        try:
            await self._store.delete(upload.object_key)
        except PlatformError as error:
            log.warning("spare_content_kept", upload_id=upload.upload_id, error=error.message)


def _chosen(
    upload: OpenUpload, parts: Sequence[SentPart], received: Sequence[StoredPart]
) -> list[StoredPart] | Failure:
    """The received parts that make the content."""
    by_number = {part.number: part for part in received}
    numbers = [part.number for part in parts] or list(range(1, max(len(received), upload.part_count, 1) + 1))
    missing = [number for number in numbers if number not in by_number]
    if missing:
        return _incomplete(upload, f"parts are missing: {', '.join(map(str, missing[:10]))}")
    for part in parts:
        if part.etag and part.etag.strip('"') != by_number[part.number].etag:
            return _incomplete(upload, f"part {part.number} is not the one that was received last")
    if upload.part_count and len(numbers) != upload.part_count:
        return _incomplete(upload, f"{upload.part_count} parts were announced, not {len(numbers)}")
    return [by_number[number] for number in numbers]


def _incomplete(upload: OpenUpload, what: str) -> Failure:
    return Failure("UPLOAD_INCOMPLETE", f"{upload.path!r} has not been sent whole: {what}")


def _file_of(upload: OpenUpload) -> StoredFile:
    assert upload.digest is not None  # noqa: S101 - the table says so of completed ones
    return StoredFile(
        upload.path,
        upload.size_bytes or 0,
        upload.digest,
        upload.content_type,
        upload.completed_time_ms or 0,
    )
