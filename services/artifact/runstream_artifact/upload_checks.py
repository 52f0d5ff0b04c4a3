"""Whether the object store holds what an upload promised."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import structlog
from runstream_common.errors import PlatformError
from runstream_common.object_store.errors import ObjectNotFound, PartsNotAccepted
from runstream_common.object_store.errors import UploadNotFound as StoreUploadNotFound

from runstream_artifact.entities import Blob, Upload, UploadMethod
from runstream_artifact.signing import received_parts, whole_parts
from runstream_artifact.store import blob_repository, upload_repository
from runstream_artifact.upload_plans import object_key, sent_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.clock import Clock
    from runstream_common.database import Database
    from runstream_common.object_store.api import ObjectStat, ObjectStore, StoredPart

log = structlog.get_logger(__name__)

LOOKS = 64
"""Objects looked at one after the other by one call to the store: what a call costs is spread over as many."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file did not become visible; see ``UploadFailure`` in the proto."""

    reason: str
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Proven:
    """The content is there and is what was promised."""

    blob: Blob
    recorded: bool
    """Whether the database knows it; else that has to happen with the file."""
    deduplicated: bool = False
    """Whether somebody else brought it."""


Outcome: TypeAlias = Proven | Failure


class UploadChecks:
    """Checks uploads, several side by side. What has to be read goes on when its caller leaves: the next one joins.

    Args:
        parallel: calls that look at objects, side by side.
        hashing_parallel: objects read and hashed side by side.
        wait_seconds: longest wait for an object that is being read.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        clock: Clock,
        *,
        parallel: int,
        hashing_parallel: int,
        wait_seconds: float,
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._slots = asyncio.Semaphore(parallel)
        self._hashing = asyncio.Semaphore(hashing_parallel)
        self._wait_seconds = wait_seconds
        self._reading: dict[str, asyncio.Task[Outcome]] = {}

    async def check(self, uploads: Sequence[Upload]) -> dict[str, Outcome]:
        """Whether the store holds what open uploads promised, by upload id.

        Raises:
            PlatformError: what is neither an upload's fault nor passes by itself, such as refused credentials.
        """
        single = [upload for upload in uploads if upload.method is UploadMethod.SINGLE]
        others = [upload for upload in uploads if upload.method is not UploadMethod.SINGLE]
        looked = (self._look(single[at : at + LOOKS]) for at in range(0, len(single), LOOKS))
        found = await asyncio.gather(*looked, *(self._read_back(upload) for upload in others))
        return {upload_id: outcome for outcomes in found for upload_id, outcome in outcomes.items()}

    async def stop(self) -> None:
        """End what is being read; completing again begins anew."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, uploads: Sequence[Upload]) -> dict[str, Outcome]:
        try:
            async with self._slots:
                stats = await self._store.stat_many([object_key(upload) for upload in uploads])
        except PlatformError as error:
            return {upload.upload_id: _unavailable(upload, error) for upload in uploads}
        return {u.upload_id: _compared(u, stat) for u, stat in zip(uploads, stats, strict=True)}

    async def _read_back(self, upload: Upload) -> dict[str, Outcome]:
        try:
            return {upload.upload_id: await self._check_by_reading(upload)}
        except PlatformError as error:
            return {upload.upload_id: _unavailable(upload, error)}

    async def _check_by_reading(self, upload: Upload) -> Outcome:
        task = self._reading.get(upload.upload_id)
        if task is None:
            task = asyncio.create_task(self._read(upload), name=f"verify {upload.upload_id}")
            self._reading[upload.upload_id] = task
            task.add_done_callback(lambda done: self._finished(upload.upload_id, done))
        done, _ = await asyncio.wait([task], timeout=self._wait_seconds)
        if not done:
            return Failure(
                "VERIFICATION_RUNNING",
                f"{upload.path!r} is being read and hashed; complete again",
                retryable=True,
            )
        return task.result()

    def _finished(self, upload_id: str, task: asyncio.Task[Outcome]) -> None:
        del self._reading[upload_id]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Told to whoever waits; noted here since the caller may have left.
            log.warning("upload_check_failed", upload_id=upload_id, error=str(error))

    async def _read(self, upload: Upload) -> Outcome:
        async with self._hashing:
            failure = await self._gather_content(upload)
            if failure is not None:
                return failure
            content = await self._store.hash_content(object_key(upload))
        if content is None:
            return _incomplete(upload, "nothing has arrived")
        if content.size_bytes != upload.size_bytes:
            return await self._refuse(upload, _wrong_size(upload, content.size_bytes))
        if content.sha256 != upload.digest:
            return await self._refuse(upload, _wrong_checksum(upload))
        return await self._record(upload)

    async def _gather_content(self, upload: Upload) -> Failure | None:
        """Bring the content to its final key, where no client can change it; None when it is there."""
        if upload.method is UploadMethod.STAGED:
            try:
                await self._store.copy(sent_key(upload), object_key(upload))
            except ObjectNotFound:
                return _incomplete(upload, "nothing has arrived")
            return None
        parts = await received_parts(self._store, upload)
        if parts is None:
            # Put together by a completion that did not get further, or lost.
            found = await self._store.stat(object_key(upload))
            return None if found else _incomplete(upload, "the store has none of its parts")
        return await self._put_together(upload, parts)

    async def _put_together(self, upload: Upload, parts: list[StoredPart]) -> Failure | None:
        whole = whole_parts(upload, parts)
        missing = sorted(set(range(1, upload.part_count + 1)) - {part.number for part in whole})
        if missing:
            return _incomplete(upload, f"parts are missing: {_numbers(missing)}")
        try:
            await self._store.complete_multipart(object_key(upload), upload.store_upload_id, whole)
        except PartsNotAccepted as error:
            return _incomplete(upload, error.message)
        except StoreUploadNotFound:
            # Another completion of the same upload was faster.
            if await self._store.stat(object_key(upload)) is None:
                return _incomplete(upload, "the store has none of its parts")
        return None

    async def _refuse(self, upload: Upload, failure: Failure) -> Failure:
        """Give the upload up and delete its content."""
        async with self._database.driver() as connection:
            await upload_repository.abandon_uploads(connection, [upload.upload_id], 0)
        await self._store.delete(object_key(upload))
        return failure

    async def _record(self, upload: Upload) -> Outcome:
        key, now_ms = object_key(upload), self._clock.now_ms()
        async with self._database.driver() as connection:
            blob = await blob_repository.insert_blob_of_upload(
                connection, upload.upload_id, upload.digest, key, now_ms
            )
        if blob is None:
            return not_found(upload.upload_id)
        # If somebody else brought the same content first, this one's goes when the upload is cleared away.
        return Proven(blob, recorded=True, deduplicated=blob.object_key != key)


def _compared(upload: Upload, stat: ObjectStat | None) -> Outcome:
    if stat is None:
        return _incomplete(upload, "nothing has arrived")
    if stat.size_bytes != upload.size_bytes:
        return _wrong_size(upload, stat.size_bytes)
    # Only content with this digest can have been put there; a store that keeps the checksum says so again.
    if stat.sha256 is not None and stat.sha256 != upload.digest:
        return _wrong_checksum(upload)
    return Proven(Blob(upload.digest, upload.size_bytes, object_key(upload)), recorded=False)


def _unavailable(upload: Upload, error: PlatformError) -> Failure:
    if not error.retryable:
        raise error
    return Failure("OBJECT_STORE_UNAVAILABLE", f"{upload.path!r}: {error.message}", retryable=True)


def not_found(upload_id: str) -> Failure:
    """The failure of an upload that is not open."""
    return Failure("UPLOAD_NOT_FOUND", f"upload {upload_id} is unknown, was given up or has expired")


def _incomplete(upload: Upload, what: str) -> Failure:
    return Failure("UPLOAD_INCOMPLETE", f"{upload.path!r} has not been sent whole: {what}")


def _wrong_size(upload: Upload, size_bytes: int) -> Failure:
    return Failure(
        "SIZE_MISMATCH", f"{upload.path!r} has {size_bytes} bytes, {upload.size_bytes} were announced"
    )


def _wrong_checksum(upload: Upload) -> Failure:
    return Failure(
        "CHECKSUM_MISMATCH", f"{upload.path!r} has another SHA-256 than was announced: {upload.digest.hex()}"
    )


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:10])
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
