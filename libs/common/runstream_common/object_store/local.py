"""An object store in a folder, for one machine: same protocol as S3, with signed URLs that it serves itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from runstream_common.clock import SystemClock
from runstream_common.object_store.api import (
    HashedContent,
    ObjectStat,
    SignedRequest,
    StoreAddress,
    StoreChecks,
)
from runstream_common.object_store.content_headers import get_query, part_headers, part_query, put_headers
from runstream_common.object_store.errors import ObjectStoreUnavailable
from runstream_common.object_store.local_folder import Folder
from runstream_common.object_store.local_http import LocalHttpServer
from runstream_common.object_store.local_open_uploads import OpenUploads
from runstream_common.object_store.local_signing import OPEN_UPLOAD, URL_PREFIX, UrlSigner
from runstream_common.object_store.local_uploads import Uploads
from runstream_common.object_store.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from runstream_common.clock import Clock
    from runstream_common.object_store.api import StoredPart

log = structlog.get_logger(__name__)

THREADS = 16
"""Enough that many small files share the disk's flushes; more gained nothing on ext4."""

HASH_BYTES = 256 * 1024
"""Read and hashed at once: what stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class LocalServing:
    """How a local store's URLs are signed and served."""

    signing_secret: Callable[[], Awaitable[bytes]]
    """At least 32 random bytes, the same in every process that shares the folder; asked for once, by ``start``."""
    host: str
    """Address to listen on."""
    port: int
    """Port to listen on; 0 picks one."""
    public_url: str = ""
    """What URLs begin with, such as ``https://files.example.org``; empty: no host, and the port listened on."""


class LocalStore:
    """Objects as files of a folder.

    Args:
        root: the folder; made when missing.
        serving: how URLs are signed and served.
        clock: for the expiry of URLs.
    """

    name = "object-store"

    def __init__(self, root: Path, serving: LocalServing, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._serving = serving
        self._folder = Folder(root)
        self._uploads = Uploads(self._folder)
        self._open_uploads = OpenUploads(self._folder)
        self._workers = Workers(THREADS, place=f"the folder {root}")
        self._http = LocalHttpServer(
            self._folder,
            self._uploads,
            self._open_uploads,
            self._workers,
            host=serving.host,
            port=serving.port,
        )
        self._signer: UrlSigner | None = None

    @property
    def checks(self) -> StoreChecks:
        """Everything is verified while it is received."""
        return StoreChecks(sha256=True, part_crc32=True)

    @property
    def base_url(self) -> str:
        """What its URLs begin with."""
        return self._serving.public_url.rstrip("/") or self._service_url

    @property
    def _service_url(self) -> str:
        return f"http://:{self._http.port}"

    @property
    def address(self) -> StoreAddress:
        """See ``ObjectStore.address``; clients that know the gateway alone need not reach this port."""
        return StoreAddress(f"{self._service_url}{URL_PREFIX}".rstrip("/"), clients_reach_it=False)

    @property
    def open_parts_need_length(self) -> bool:
        """See ``ObjectStore.open_parts_need_length``."""
        return False

    async def start(self) -> None:
        """Make the folder, get the secret and serve."""
        await self._workers.run("write", self._folder.open)
        self._signer = UrlSigner(await self._serving.signing_secret(), self._clock)
        await self._http.start(self._signer)
        log.info("object_store_ready", kind="local", folder=str(self._folder.root), port=self._http.port)

    async def stop(self) -> None:
        """Finish requests in progress, stop serving, release the threads."""
        await self._http.stop()
        self._workers.stop()

    async def ping(self) -> None:
        """Return when something can be written."""
        await self._workers.run("write", self._folder.check)

    def sign_put(
        self, key: str, *, size_bytes: int, sha256: bytes, content_type: str, expires_seconds: int
    ) -> SignedRequest:
        """See ``ObjectStore.sign_put``; the content type is compared but not kept."""
        headers = put_headers(size_bytes=size_bytes, sha256=sha256, content_type=content_type)
        return self._sign("PUT", key, headers, {}, expires_seconds)

    def sign_part(
        self,
        key: str,
        store_upload_id: str,
        number: int,
        *,
        size_bytes: int,
        crc32_base64: str,
        expires_seconds: int,
    ) -> SignedRequest:
        """See ``ObjectStore.sign_part``."""
        headers = part_headers(size_bytes=size_bytes, crc32_base64=crc32_base64)
        return self._sign("PUT", key, headers, part_query(store_upload_id, number), expires_seconds)

    def sign_get(
        self,
        key: str,
        *,
        file_name: str,
        content_type: str,
        expires_seconds: int,
        for_service: bool = False,
    ) -> SignedRequest:
        """See ``ObjectStore.sign_get``."""
        query = get_query(file_name=file_name, content_type=content_type)
        return self._sign("GET", key, {}, query, expires_seconds, for_service=for_service)

    def sign_open_part(
        self, key: str, store_upload_id: str, number: int, *, expires_seconds: int, for_service: bool
    ) -> SignedRequest:
        """See ``ObjectStore.sign_open_part``."""
        query = part_query(store_upload_id, number)
        return self._sign("PUT", key, {}, query, expires_seconds, for_service=for_service)

    def _sign(
        self,
        method: str,
        key: str,
        headers: dict[str, str],
        query: dict[str, str],
        expires_seconds: int,
        *,
        for_service: bool = False,
    ) -> SignedRequest:
        if self._signer is None:
            raise ObjectStoreUnavailable("the object store is not started")
        return self._signer.sign(
            method,
            key,
            base_url=self._service_url if for_service else self.base_url,
            headers=headers,
            query=query,
            expires_seconds=expires_seconds,
        )

    async def create_multipart(
        self,
        key: str,  # noqa: ARG002 - the upload is bound to it by the signature of its parts
        *,
        content_type: str,  # noqa: ARG002 - files have none
        size_bytes: int,
        part_size_bytes: int,
    ) -> str:
        """See ``ObjectStore.create_multipart``."""
        return await self._workers.run("write", self._uploads.create, size_bytes, part_size_bytes)

    async def put(
        self,
        key: str,
        content: bytes,
        *,
        sha256: bytes,  # noqa: ARG002 - nothing comes between us and the disk
        content_type: str,  # noqa: ARG002 - files have none
    ) -> None:
        """See ``ObjectStore.put``."""
        await self._workers.run("write", self._folder.put, key, content)

    async def create_open(
        self,
        key: str,  # noqa: ARG002 - the upload is bound to it by the signature of its parts
        *,
        content_type: str,  # noqa: ARG002 - files have none
        part_count: int,
    ) -> str:
        """See ``ObjectStore.create_open``."""
        return await self._workers.run("write", self._open_uploads.create, part_count)

    async def complete_open(
        self, key: str, store_upload_id: str, parts: Sequence[StoredPart]
    ) -> HashedContent | None:
        """See ``ObjectStore.complete_open``."""
        return await self._workers.run("write", self._open_uploads.complete, store_upload_id, parts, key)

    async def list_parts(self, key: str, store_upload_id: str) -> list[StoredPart]:  # noqa: ARG002
        """See ``ObjectStore.list_parts``."""
        return await self._workers.run("read", self._of(store_upload_id).parts, store_upload_id)

    async def complete_multipart(self, key: str, store_upload_id: str, parts: Sequence[StoredPart]) -> None:
        """See ``ObjectStore.complete_multipart``."""
        await self._workers.run("write", self._uploads.complete, store_upload_id, parts, key)

    async def abort_multipart(self, key: str, store_upload_id: str) -> None:  # noqa: ARG002
        """See ``ObjectStore.abort_multipart``."""
        await self._workers.run("delete", self._of(store_upload_id).abort, store_upload_id)

    def _of(self, store_upload_id: str) -> Uploads | OpenUploads:
        return self._open_uploads if store_upload_id.startswith(OPEN_UPLOAD) else self._uploads

    async def stat(self, key: str) -> ObjectStat | None:
        """See ``ObjectStore.stat``; no checksum is kept beside the file."""
        return (await self.stat_many([key]))[0]

    async def stat_many(self, keys: Sequence[str]) -> list[ObjectStat | None]:
        """See ``ObjectStore.stat_many``."""
        sizes = await self._workers.run("read", lambda: [self._folder.size_of(key) for key in keys])
        return [None if size_bytes is None else ObjectStat(size_bytes, None) for size_bytes in sizes]

    async def hash_content(self, key: str) -> HashedContent | None:
        """See ``ObjectStore.hash_content``."""
        return await self._workers.run("hash", _hash_object, self._folder, key, self._workers.check_running)

    async def read(self, key: str, max_bytes: int) -> bytes | None:
        """See ``ObjectStore.read``."""
        return await self._workers.run("read", _read_object, self._folder, key, max_bytes)

    async def copy(self, source: str, target: str) -> None:
        """See ``ObjectStore.copy``."""
        await self._workers.run("copy", self._folder.copy, source, target)

    async def delete(self, key: str) -> None:
        """See ``ObjectStore.delete``."""
        await self._workers.run("delete", self._folder.delete, key)


def _hash_object(folder: Folder, key: str, check_running: Callable[[], None]) -> HashedContent | None:
    found = folder.open_object(key)
    if found is None:
        return None
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(HASH_BYTES))
    with open(found[0], "rb", buffering=0) as file:  # noqa: PTH123 - it takes over the descriptor
        while read_bytes := file.readinto(buffer):
            check_running()
            digest.update(buffer[:read_bytes])
        return HashedContent(digest.digest(), file.tell())


def _read_object(folder: Folder, key: str, max_bytes: int) -> bytes | None:
    found = folder.open_object(key)
    if found is None:
        return None
    with open(found[0], "rb") as file:  # noqa: PTH123 - it takes over the descriptor
        return file.read(max_bytes)
