"""The moment when files become visible: content proven, then everything in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import FailedPrecondition, InvalidArgument, NotFound

from runstream_artifact.entities import StoredFile, UploadState
from runstream_artifact.errors import TreeSealed, conflict_message
from runstream_artifact.paths import parents
from runstream_artifact.store import blob_repository, tree_repository, upload_repository
from runstream_artifact.tree_events import NewlyVisible
from runstream_artifact.trees import lock_writable, store_files
from runstream_artifact.upload_checks import Failure, Proven, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_artifact.entities import Blob, Owner, Upload
    from runstream_artifact.owners import Owners
    from runstream_artifact.upload_checks import Outcome, UploadChecks
    from runstream_artifact.upload_plans import UploadRules


class Completion:
    """Completes uploads; owns the transaction."""

    def __init__(
        self, database: Database, checks: UploadChecks, owners: Owners, rules: UploadRules, clock: Clock
    ) -> None:
        self._database = database
        self._checks = checks
        self._owners = owners
        self._rules = rules
        self._clock = clock

    async def complete(self, upload_ids: Sequence[str]) -> list[StoredFile | Failure]:
        """Check what was sent and make the files visible; what became of each upload, in the given order.

        An upload that was completed lately gives the same file again.

        Args:
            upload_ids: of one owner; different ones.

        Raises:
            InvalidArgument: they belong to several owners.
            Unavailable: the metadata service is away and the run is not known.
        """
        async with self._database.driver() as connection:
            opened = await upload_repository.renew_uploads(connection, upload_ids, self._rules.keep_seconds)
            closed = [upload_id for upload_id in upload_ids if upload_id not in opened]
            completed = await upload_repository.select_completed(connection, closed) if closed else {}
        results: dict[str, StoredFile | Failure] = {
            upload_id: _file_of(upload) for upload_id, upload in completed.items()
        }
        if opened:
            owner = _one_owner([*opened.values(), *completed.values()])
            results |= await self._complete_open(owner, opened)
        return [results.get(upload_id) or not_found(upload_id) for upload_id in upload_ids]

    async def _complete_open(
        self, owner: Owner, uploads: Mapping[str, Upload]
    ) -> dict[str, StoredFile | Failure]:
        try:
            await self._owners.require_writable(owner)
        except (FailedPrecondition, NotFound) as error:
            return _all_fail(uploads, error.message)
        outcomes = await self._outcomes(uploads)
        failures: dict[str, StoredFile | Failure] = {
            upload_id: outcome for upload_id, outcome in outcomes.items() if isinstance(outcome, Failure)
        }
        proven = {
            upload_id: outcome for upload_id, outcome in outcomes.items() if isinstance(outcome, Proven)
        }
        if not proven:
            return failures
        try:
            async with self._database.driver() as connection, connection.transaction():
                return failures | await self._make_visible(connection, owner, proven)
        except TreeSealed as error:
            return failures | _all_fail(proven, error.message)

    async def _outcomes(self, uploads: Mapping[str, Upload]) -> dict[str, Outcome]:
        async with self._database.driver() as connection:
            blobs = await blob_repository.select_blobs(
                connection, (upload.digest for upload in uploads.values())
            )
        known = {
            upload_id: _known_outcome(upload, blobs[upload.digest])
            for upload_id, upload in uploads.items()
            if upload.digest in blobs
        }
        checked = await self._checks.check([u for upload_id, u in uploads.items() if upload_id not in known])
        return {upload_id: known.get(upload_id) or checked[upload_id] for upload_id in uploads}

    async def _make_visible(
        self, connection: Connection, owner: Owner, proven: Mapping[str, Proven]
    ) -> dict[str, StoredFile | Failure]:
        tree = await lock_writable(connection, owner)
        # As they are now: another call may have completed some, or they were given up.
        uploads = await upload_repository.lock_uploads(connection, proven)
        still_open = {
            upload_id: upload for upload_id, upload in uploads.items() if upload.state is UploadState.OPEN
        }
        results: dict[str, StoredFile | Failure] = {
            upload_id: _file_of(upload)
            for upload_id, upload in uploads.items()
            if upload.state is UploadState.COMPLETED
        }
        conflicts = await _conflicts(connection, tree.tree_id, still_open)
        results |= conflicts
        visible = {
            upload_id: upload for upload_id, upload in still_open.items() if upload_id not in conflicts
        }
        return results | await self._store(connection, owner, tree.tree_id, visible, proven)

    async def _store(
        self,
        connection: Connection,
        owner: Owner,
        tree_id: int,
        uploads: Mapping[str, Upload],
        proven: Mapping[str, Proven],
    ) -> dict[str, StoredFile]:
        now_ms = self._clock.now_ms()
        files = {
            upload_id: StoredFile(upload.path, upload.size_bytes, upload.digest, upload.content_type, now_ms)
            for upload_id, upload in uploads.items()
        }
        new_blobs = {
            proven[upload_id].blob.digest: proven[upload_id].blob
            for upload_id in uploads
            if not proven[upload_id].recorded
        }
        await blob_repository.insert_blobs(connection, list(new_blobs.values()), now_ms)
        # Of two contents for one path the later one in the call stays.
        last = {file.path: upload_id for upload_id, file in files.items()}
        newly = [
            NewlyVisible(files[upload_id], proven[upload_id].deduplicated) for upload_id in last.values()
        ]
        await store_files(connection, owner, tree_id, newly, now_ms)
        await upload_repository.complete_uploads(connection, uploads, now_ms, self._rules.url_seconds)
        return files


def _known_outcome(upload: Upload, blob: Blob) -> Outcome:
    """What becomes of an upload whose content somebody else has brought."""
    if blob.size_bytes != upload.size_bytes:
        message = f"{upload.path!r}: content with this digest has {blob.size_bytes} bytes"
        return Failure("SIZE_MISMATCH", message)
    return Proven(blob, recorded=True, deduplicated=True)


async def _conflicts(
    connection: Connection, tree_id: int, uploads: Mapping[str, Upload]
) -> dict[str, StoredFile | Failure]:
    """The uploads whose paths cannot be files: because of what is stored, or of a file that comes with them."""
    paths = {upload.path for upload in uploads.values()}
    found = await tree_repository.select_conflicts(connection, tree_id, paths) if paths else {}
    kept = paths - found.keys()
    for path in sorted(kept):
        blocking = next((parent for parent in parents(path) if parent in kept), None)
        if blocking is not None:
            found[path] = blocking
    return {
        upload_id: Failure("PATH_CONFLICT", conflict_message(upload.path, found[upload.path]))
        for upload_id, upload in uploads.items()
        if upload.path in found
    }


def _one_owner(uploads: Sequence[Upload]) -> Owner:
    owners = {upload.owner for upload in uploads}
    if len(owners) > 1:
        raise InvalidArgument.of("upload_ids", "belong to several owners; complete those of one at a time")
    return owners.pop()


def _all_fail(uploads: Mapping[str, object], message: str) -> dict[str, StoredFile | Failure]:
    return {upload_id: Failure("OWNER_NOT_WRITABLE", message) for upload_id in uploads}


def _file_of(upload: Upload) -> StoredFile:
    return StoredFile(
        upload.path, upload.size_bytes, upload.digest, upload.content_type, upload.completed_time_ms or 0
    )
