"""Uploads up to the moment when their content has been sent: announced, resumed, signed, given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog
from runstream_common.errors import InvalidArgument, PlatformError
from runstream_common.object_store.api import StoredPart

from runstream_artifact.abandonment import discard
from runstream_artifact.entities import StoredFile, Upload, UploadMethod
from runstream_artifact.errors import UploadNotFound
from runstream_artifact.file_rules import check_together
from runstream_artifact.signing import UploadTicket, received_parts
from runstream_artifact.store import blob_repository, file_queries, upload_repository
from runstream_artifact.tree_events import NewlyVisible
from runstream_artifact.trees import check_announced, lock_writable, refuse_conflicts, store_files
from runstream_artifact.upload_plans import planned_upload, sent_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database
    from runstream_common.object_store.api import ObjectStore, SignedRequest

    from runstream_artifact.entities import Blob, NewFile, Owner
    from runstream_artifact.owners import Owners
    from runstream_artifact.signing import PartToSign, Signer
    from runstream_artifact.upload_plans import UploadRules

log = structlog.get_logger(__name__)

STORE_CALLS_AT_ONCE = 16
"""Multipart uploads opened or looked at side by side; about as many connections as the store's client has."""


class Uploads:
    """Use cases around files on their way; owns their transactions."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        owners: Owners,
        signer: Signer,
        rules: UploadRules,
        clock: Clock,
    ) -> None:
        self._database = database
        self._store = store
        self._owners = owners
        self._signer = signer
        self._rules = rules
        self._clock = clock
        self._slots = asyncio.Semaphore(STORE_CALLS_AT_ONCE)

    async def create(self, owner: Owner, files: Sequence[NewFile]) -> list[StoredFile | UploadTicket]:
        """Make files visible whose content is stored, and open uploads for the others; in the given order.

        Raises:
            RunNotFound, RunDeleted, TreeSealed: the owner takes no files.
            InvalidArgument: a path comes twice, or content has another size than is known of it.
            PathConflict: a path is a directory, or lies below a file.
        """
        check_together(files)
        await self._owners.require_writable(owner)
        async with self._database.driver() as connection:
            blobs = await blob_repository.select_blobs(connection, (file.digest for file in files))
            _check_sizes(files, blobs)
            stored = await self._store_known(connection, owner, files, blobs)
            missing = [file for file in files if file.path not in stored]
            opened = await self._open(connection, owner, missing)
        tickets = await self._tickets(opened)
        by_path = {ticket.upload.path: ticket for ticket in tickets}
        return [stored.get(file.path) or by_path[file.path] for file in files]

    async def get(self, upload_id: str) -> UploadTicket:
        """An open upload with what the store has received of it; renews it.

        Raises:
            UploadNotFound: it is not open.
        """
        return (await self._tickets([_Opened(await self._renewed(upload_id), new=False)]))[0]

    async def sign_parts(self, upload_id: str, parts: Sequence[PartToSign]) -> list[SignedRequest]:
        """Requests for parts of a multipart upload; renews it.

        Raises:
            UploadNotFound: it is not open.
            InvalidArgument, FailedPrecondition: see ``Signer.parts``.
        """
        return await self._signer.parts(await self._renewed(upload_id), parts)

    async def abort(self, upload_id: str) -> None:
        """Give an upload up; one that is not open stays as it is."""
        async with self._database.driver() as connection:
            given_up = await upload_repository.abandon_uploads(
                connection, [upload_id], self._rules.url_seconds
            )
        for upload in given_up:
            try:
                await discard(self._database, self._store, upload)
            except PlatformError as error:
                # It is done again when the upload's last request has expired.
                log.warning("upload_discard_postponed", upload_id=upload.upload_id, error=error.message)

    async def _renewed(self, upload_id: str) -> Upload:
        async with self._database.driver() as connection:
            renewed = await upload_repository.renew_uploads(connection, [upload_id], self._rules.keep_seconds)
        if upload_id not in renewed:
            raise UploadNotFound(upload_id)
        return renewed[upload_id]

    async def _store_known(
        self, connection: Connection, owner: Owner, files: Sequence[NewFile], blobs: dict[bytes, Blob]
    ) -> dict[str, StoredFile]:
        now_ms = self._clock.now_ms()
        known = {
            file.path: StoredFile(file.path, file.size_bytes, file.digest, file.content_type, now_ms)
            for file in files
            if file.digest in blobs
        }
        if not known:
            await check_announced(connection, owner, [file.path for file in files])
            return {}
        async with connection.transaction():
            tree = await lock_writable(connection, owner)
            await refuse_conflicts(connection, tree.tree_id, [file.path for file in files])
            there = await file_queries.select_files(connection, tree.tree_id, known)
            for path, file in there.items():
                # Storing the same again changes nothing, so nothing is told of it.
                if (file.digest, file.content_type) == (known[path].digest, known[path].content_type):
                    known[path] = file
            changed = [
                NewlyVisible(file, deduplicated=True)
                for path, file in known.items()
                if there.get(path) is not file
            ]
            await store_files(connection, owner, tree.tree_id, changed, now_ms)
        return known

    async def _open(self, connection: Connection, owner: Owner, files: Sequence[NewFile]) -> list[_Opened]:
        if not files:
            return []
        planned = [planned_upload(owner, file, self._store.checks, self._rules) for file in files]
        new_ids = {upload.upload_id for upload in planned}
        opened = await upload_repository.open_uploads(connection, planned, self._rules.keep_seconds)
        sizes = {file.path: file.size_bytes for file in files}
        for upload in opened:
            if upload.size_bytes != sizes[upload.path]:
                raise InvalidArgument.of(
                    "files.size_bytes",
                    f"is {sizes[upload.path]} for {upload.path!r}, whose upload {upload.upload_id} of the same digest "
                    f"was announced with {upload.size_bytes} bytes",
                )
        return [_Opened(upload, new=upload.upload_id in new_ids) for upload in opened]

    async def _tickets(self, opened: Sequence[_Opened]) -> list[UploadTicket]:
        in_parts = [item for item in opened if item.upload.method is UploadMethod.MULTIPART]
        ready = await asyncio.gather(*(self._ready_for_parts(item) for item in in_parts))
        uploads = {item.upload.upload_id: item.upload for item in opened}
        uploads |= {upload.upload_id: upload for upload, _ in ready}
        parts: dict[str, Sequence[StoredPart]] = {upload.upload_id: found for upload, found in ready}
        return await self._signer.tickets(list(uploads.values()), parts)

    async def _ready_for_parts(self, item: _Opened) -> tuple[Upload, list[StoredPart]]:
        async with self._slots:
            if not item.new:
                parts = await received_parts(self._store, item.upload)
                if parts is not None:
                    return item.upload, parts
                if await self._store.stat(sent_key(item.upload)) is not None:
                    # Put together already, by a completion that did not get further: nothing needs to be sent.
                    return item.upload, _every_part(item.upload)
            return await self._open_multipart(item.upload), []

    async def _open_multipart(self, upload: Upload) -> Upload:
        key = sent_key(upload)
        store_upload_id = await self._store.create_multipart(
            key,
            content_type=upload.content_type,
            size_bytes=upload.size_bytes,
            part_size_bytes=upload.part_size_bytes,
        )
        async with self._database.driver() as connection:
            noted = await upload_repository.set_store_upload(connection, upload, store_upload_id)
            if noted is not None:
                return noted
            current = await upload_repository.renew_uploads(connection, [upload.upload_id], 0)
        await self._store.abort_multipart(key, store_upload_id)
        if upload.upload_id not in current:
            raise UploadNotFound(upload.upload_id)
        return current[upload.upload_id]


class _Opened(NamedTuple):
    upload: Upload
    new: bool


def _every_part(upload: Upload) -> list[StoredPart]:
    return [
        StoredPart(number, upload.part_bytes(number), "", "") for number in range(1, upload.part_count + 1)
    ]


def _check_sizes(files: Iterable[NewFile], blobs: dict[bytes, Blob]) -> None:
    for index, file in enumerate(files):
        blob = blobs.get(file.digest)
        if blob is not None and blob.size_bytes != file.size_bytes:
            raise InvalidArgument.of(
                f"files[{index}].size_bytes",
                f"is {file.size_bytes}, but content with this digest has {blob.size_bytes} bytes",
            )
