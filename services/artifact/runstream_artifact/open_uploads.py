"""Uploads of content that nobody knows yet: opened, signed, given up. How they end is in ``open_completion``."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import structlog
from runstream_common.errors import InvalidArgument, PlatformError
from runstream_common.object_store.api import MAX_PARTS
from runstream_contract.ids import new_batch_id

from runstream_artifact.abandonment import discard_open
from runstream_artifact.entities import OpenUpload, UploadState
from runstream_artifact.errors import UploadNotFound
from runstream_artifact.signing import SIGNED_AT_ONCE
from runstream_artifact.store import open_upload_repository
from runstream_artifact.trees import check_announced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.database import Database
    from runstream_common.object_store.api import ObjectStore, SignedRequest

    from runstream_artifact.entities import Owner
    from runstream_artifact.owners import Owners
    from runstream_artifact.upload_plans import UploadRules

log = structlog.get_logger(__name__)

MAX_SIGNED = 1_000
"""Requests signed by one call."""


class OpenFile(NamedTuple):
    """A file that somebody is about to send; path and type have been checked."""

    owner: Owner
    path: str
    content_type: str
    as_given: bool
    """Whether the owner takes it whatever its state."""


class OpenUploads:
    """Use cases around open uploads on their way; owns their transactions."""

    def __init__(self, database: Database, store: ObjectStore, owners: Owners, rules: UploadRules) -> None:
        self._database = database
        self._store = store
        self._owners = owners
        self._rules = rules

    @property
    def needs_length(self) -> bool:
        """Whether parts must come with their size."""
        return self._store.open_parts_need_length

    async def create(
        self, file: OpenFile, part_count: int, *, for_service: bool
    ) -> tuple[OpenUpload, list[SignedRequest]]:
        """Open an upload; also requests for the first parts.

        Args:
            part_count: parts that will come; 0 when that is not known.
            for_service: sign for the address by which services reach the store.

        Raises:
            RunNotFound, RunDeleted, TreeSealed: the owner takes no files.
            PathConflict: the path is a directory, or lies below a file.
            InvalidArgument: there are too many parts.
        """
        if not 0 <= part_count <= MAX_PARTS:
            raise InvalidArgument.of("part_count", f"must be 0 to {MAX_PARTS}")
        if not file.as_given:
            await self._owners.require_writable(file.owner)
        async with self._database.driver() as connection:
            await check_announced(connection, file.owner, [file.path])
        planned = _planned(file, part_count)
        upload = await self._opened(planned)
        numbers = range(1, min(max(part_count, 1), MAX_SIGNED) + 1)
        return upload, await self._signed(upload, numbers, for_service=for_service)

    async def get(self, upload_id: str) -> OpenUpload:
        """An open upload; renews it.

        Raises:
            UploadNotFound: it is not open.
        """
        async with self._database.driver() as connection:
            upload = await open_upload_repository.renew_upload(
                connection, upload_id, self._rules.keep_seconds
            )
        if upload is None:
            raise UploadNotFound(upload_id)
        return upload

    async def sign_parts(
        self, upload_id: str, numbers: Sequence[int], *, for_service: bool
    ) -> list[SignedRequest]:
        """Requests for parts, in the given order; renews the upload.

        Raises:
            UploadNotFound: it is not open.
            InvalidArgument: a number is out of range.
        """
        upload = await self.get(upload_id)
        most = upload.part_count or MAX_PARTS
        for index, number in enumerate(numbers):
            if not 1 <= number <= most:
                raise InvalidArgument.of(f"part_numbers[{index}]", f"must be 1 to {most}")
        return await self._signed(upload, numbers, for_service=for_service)

    async def abort(self, upload_id: str) -> None:
        """Give an upload up; one that is not open stays as it is."""
        async with self._database.driver() as connection:
            upload = await open_upload_repository.abandon_upload(
                connection, upload_id, self._rules.url_seconds
            )
        if upload is None:
            return
        try:
            await discard_open(self._database, self._store, upload)
        except PlatformError as error:
            # It is done again when the upload's last request has expired.
            log.warning("upload_discard_postponed", upload_id=upload_id, error=error.message)

    async def _opened(self, planned: OpenUpload) -> OpenUpload:
        # If we die before it is noted, the store itself forgets it after a while.
        store_upload_id = await self._store.create_open(
            planned.object_key, content_type=planned.content_type, part_count=planned.part_count
        )
        async with self._database.driver() as connection:
            return await open_upload_repository.insert_upload(
                connection, replace(planned, store_upload_id=store_upload_id), self._rules.keep_seconds
            )

    async def _signed(
        self, upload: OpenUpload, numbers: Sequence[int], *, for_service: bool
    ) -> list[SignedRequest]:
        requests = []
        for index, number in enumerate(numbers):
            if index % SIGNED_AT_ONCE == SIGNED_AT_ONCE - 1:
                await asyncio.sleep(0)
            requests.append(
                self._store.sign_open_part(
                    upload.object_key,
                    upload.store_upload_id,
                    number,
                    expires_seconds=self._rules.url_seconds,
                    for_service=for_service,
                )
            )
        return requests


def _planned(file: OpenFile, part_count: int) -> OpenUpload:
    return OpenUpload(
        upload_id=new_batch_id(),
        owner=file.owner,
        path=file.path,
        content_type=file.content_type,
        part_count=part_count,
        store_upload_id="",
        state=UploadState.OPEN,
        digest=None,
        size_bytes=None,
        completed_time_ms=None,
        expire_time_ms=0,
    )
