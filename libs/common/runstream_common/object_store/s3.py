"""An object store in any S3: AWS, MinIO, SeaweedFS, RustFS, versitygw."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING, Literal

import structlog
from minio.commonconfig import CopySource
from minio.helpers import BaseURL
from minio.sse import SseKMS, SseS3

from runstream_common.clock import SystemClock
from runstream_common.object_store.api import (
    HashedContent,
    ObjectStat,
    SignedRequest,
    StoreAddress,
    StoreChecks,
)
from runstream_common.object_store.content_headers import get_query, part_headers, part_query, put_headers
from runstream_common.object_store.errors import (
    ObjectNotFound,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    UploadNotFound,
)
from runstream_common.object_store.location import AWS_DOMAINS
from runstream_common.object_store.presign import Presigner
from runstream_common.object_store.s3_client import S3Client
from runstream_common.object_store.s3_errors import s3_errors
from runstream_common.object_store.s3_hashing import hash_object, read_range
from runstream_common.object_store.s3_setup import (
    CHECKSUM_HEADERS,
    ensure_bucket,
    ensure_lifecycle,
    probe_checks,
)
from runstream_common.object_store.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import ParamSpec, TypeVar

    from minio.sse import Sse

    from runstream_common.clock import Clock
    from runstream_common.object_store.api import StoredPart
    from runstream_common.object_store.location import S3Location

    P = ParamSpec("P")
    T = TypeVar("T")

log = structlog.get_logger(__name__)

MAX_HASHING = 2
"""Objects hashed at once: each holds three ranges in memory and keeps a core busy."""
Encryption = Literal["none", "sse-s3", "sse-kms"]


class S3Store:
    """Objects in a bucket.

    Args:
        location: of the bucket.
        public_url: what signed URLs begin with; empty is the location's own endpoint.
        create_bucket: whether to make it at start.
        encryption: server-side encryption of everything that is stored.
        kms_key_id: key of ``sse-kms``; empty is the bucket's own.
        abort_uploads_days: the server drops unfinished uploads after so many days; 0 sets no rule.
        connections: to the server at once.
        timeout_seconds: longest silence within an answer.
        ca_file: CA certificates for TLS; empty is certifi's.
        clock: for the dates of signed URLs.
    """

    name = "object-store"

    def __init__(
        self,
        location: S3Location,
        *,
        public_url: str = "",
        create_bucket: bool = True,
        encryption: Encryption = "none",
        kms_key_id: str = "",
        abort_uploads_days: int = 7,
        connections: int = 16,
        timeout_seconds: float = 120.0,
        ca_file: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._location = location
        self._bucket = location.bucket
        self._clients_reach_it = bool(public_url) or location.endpoint.endswith(AWS_DOMAINS)
        self._public_url = public_url or location.base_url
        self._create_bucket = create_bucket
        self._sse = _sse(encryption, kms_key_id)
        self._sse_headers = {
            name.lower(): value for name, value in (self._sse.headers() if self._sse else {}).items()
        }
        self._abort_uploads_days = abort_uploads_days
        self._clock = clock or SystemClock()
        # Reading ahead takes connections beside the threads'.
        self._client = S3Client(
            location,
            connections=connections + 2 * MAX_HASHING,
            timeout_seconds=timeout_seconds,
            ca_file=ca_file,
        )
        self._workers = Workers(connections, place=f"bucket {location.bucket}")
        self._hashing = asyncio.Semaphore(MAX_HASHING)
        self._may_look = True
        self._presigner: Presigner | None = None
        self._service_presigner: Presigner | None = None
        self._checks: StoreChecks | None = None

    @property
    def checks(self) -> StoreChecks:
        """See ``ObjectStore.checks``."""
        if self._checks is None:
            raise ObjectStoreUnavailable("the object store is not started")
        return self._checks

    async def start(self) -> None:
        """Reach the server, make the bucket and its lifecycle rule, find out what it verifies."""
        region = await self._run("find the region", self._set_up)
        self._presigner = self._presigner_for(self._public_url, region)
        self._service_presigner = self._presigner_for(self._location.base_url, region)
        log.info(
            "object_store_ready",
            kind="s3",
            endpoint=self._location.endpoint,
            bucket=self._bucket,
            region=region,
        )

    def _set_up(self) -> str:
        self._may_look = ensure_bucket(self._client, self._bucket, create=self._create_bucket)
        region = self._client.region()
        ensure_lifecycle(self._client, self._bucket, self._abort_uploads_days)
        internal = self._presigner_for(self._location.base_url, region)
        self._checks = probe_checks(self._client, internal, self._bucket, self._sse_headers)
        return region

    def _presigner_for(self, endpoint_url: str, region: str) -> Presigner:
        base = BaseURL(endpoint_url, region)
        if self._location.style is not None:
            base.virtual_style_flag = self._location.style == "virtual"
        built = base.build(method="PUT", region=region, bucket_name=self._bucket, object_name="k")
        return Presigner(
            f"{built.scheme}://{built.netloc}{built.path.removesuffix('/k')}",
            region=region,
            access_key=self._location.access_key,
            secret_key=self._location.secret_key,
            clock=self._clock,
        )

    async def stop(self) -> None:
        """Close connections and threads."""
        self._workers.stop()
        self._client.pool.clear()

    async def ping(self) -> None:
        """Return when the server answers for the bucket."""
        await self._run("look for the bucket", self._ping)

    def _ping(self) -> None:
        if self._may_look and not self._client.bucket_exists(self._bucket):
            raise ObjectStoreRefused(f"the object store has no bucket {self._bucket}")

    def sign_put(
        self, key: str, *, size_bytes: int, sha256: bytes, content_type: str, expires_seconds: int
    ) -> SignedRequest:
        """See ``ObjectStore.sign_put``."""
        headers = put_headers(size_bytes=size_bytes, sha256=sha256, content_type=content_type)
        headers |= self._sse_headers
        return self._signed("PUT", key, headers, {}, expires_seconds)

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
        """See ``ObjectStore.sign_part``; encryption was settled when the upload was opened."""
        headers = part_headers(size_bytes=size_bytes, crc32_base64=crc32_base64)
        return self._signed("PUT", key, headers, part_query(store_upload_id, number), expires_seconds)

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
        return self._signed("GET", key, {}, query, expires_seconds, for_service=for_service)

    def sign_open_part(
        self, key: str, store_upload_id: str, number: int, *, expires_seconds: int, for_service: bool
    ) -> SignedRequest:
        """See ``ObjectStore.sign_open_part``; encryption was settled when the upload was opened."""
        query = part_query(store_upload_id, number)
        return self._signed("PUT", key, {}, query, expires_seconds, for_service=for_service)

    def _signed(
        self,
        method: str,
        key: str,
        headers: dict[str, str],
        query: dict[str, str],
        expires_seconds: int,
        *,
        for_service: bool = False,
    ) -> SignedRequest:
        presigner = self._service_presigner if for_service else self._presigner
        if presigner is None:
            raise ObjectStoreUnavailable("the object store is not started")
        return presigner.sign(method, key, headers=headers, query=query, expires_seconds=expires_seconds)

    @property
    def address(self) -> StoreAddress:
        """See ``ObjectStore.address``."""
        if self._service_presigner is None:
            raise ObjectStoreUnavailable("the object store is not started")
        return StoreAddress(self._service_presigner.bucket_url, self._clients_reach_it)

    @property
    def open_parts_need_length(self) -> bool:
        """See ``ObjectStore.open_parts_need_length``."""
        return True

    async def put(self, key: str, content: bytes, *, sha256: bytes, content_type: str) -> None:
        """See ``ObjectStore.put``."""
        headers = {"Content-Type": content_type, **self._sse_headers}
        if self.checks.sha256:
            headers["x-amz-checksum-sha256"] = base64.b64encode(sha256).decode()
        await self._run("write", self._client.put_small, key, content, headers)

    async def create_open(
        self,
        key: str,
        *,
        content_type: str,
        part_count: int,  # noqa: ARG002 - S3 need not know
    ) -> str:
        """See ``ObjectStore.create_open``; senders that do not know us sign no checksum for their parts."""
        headers = {"Content-Type": content_type, **self._sse_headers}
        return await self._run("open an upload", self._client.create_upload, key, headers)

    async def complete_open(
        self, key: str, store_upload_id: str, parts: Sequence[StoredPart]
    ) -> HashedContent | None:
        """See ``ObjectStore.complete_open``; S3 finds no SHA-256 of several parts out."""
        await self.complete_multipart(key, store_upload_id, parts)
        return None

    async def create_multipart(
        self,
        key: str,
        *,
        content_type: str,
        size_bytes: int,  # noqa: ARG002 - S3 need not know
        part_size_bytes: int,  # noqa: ARG002 - S3 need not know
    ) -> str:
        """See ``ObjectStore.create_multipart``."""
        headers = {"Content-Type": content_type, **self._sse_headers}
        if self.checks.part_crc32:
            headers |= CHECKSUM_HEADERS
        return await self._run("open an upload", self._client.create_upload, key, headers)

    async def list_parts(self, key: str, store_upload_id: str) -> list[StoredPart]:
        """See ``ObjectStore.list_parts``."""
        return await self._run("list parts", lambda: list(self._client.uploaded_parts(key, store_upload_id)))

    async def complete_multipart(self, key: str, store_upload_id: str, parts: Sequence[StoredPart]) -> None:
        """See ``ObjectStore.complete_multipart``."""
        await self._run("complete an upload", self._client.complete_upload, key, store_upload_id, parts)

    async def abort_multipart(self, key: str, store_upload_id: str) -> None:
        """See ``ObjectStore.abort_multipart``."""
        try:
            await self._run("abort an upload", self._client.abort_upload, key, store_upload_id)
        except UploadNotFound:
            log.debug("upload_gone_already", key=key)

    async def stat(self, key: str) -> ObjectStat | None:
        """See ``ObjectStore.stat``."""
        return (await self.stat_many([key]))[0]

    async def stat_many(self, keys: Sequence[str]) -> list[ObjectStat | None]:
        """See ``ObjectStore.stat_many``."""

        def stats() -> list[ObjectStat | None]:
            found = []
            for key in keys:
                self._workers.check_running()
                found.append(self._stat(key))
            return found

        return await self._workers.run("read", stats)

    def _stat(self, key: str) -> ObjectStat | None:
        try:
            with s3_errors("read", self._bucket):
                return self._existing_stat(key)
        except ObjectNotFound:
            return None

    def _existing_stat(self, key: str) -> ObjectStat:
        found = self._client.stat_object(self._bucket, key, extra_headers={"x-amz-checksum-mode": "ENABLED"})
        return ObjectStat(found.size or 0, _sha256((found.metadata or {}).get("x-amz-checksum-sha256")))

    async def hash_content(self, key: str) -> HashedContent | None:
        """See ``ObjectStore.hash_content``."""
        async with self._hashing:
            found = await self.stat(key)
            if found is None:
                return None
            try:
                return await self._run(
                    "hash",
                    hash_object,
                    self._client,
                    self._bucket,
                    key,
                    found.size_bytes,
                    self._workers.check_running,
                )
            except ObjectNotFound:
                return None

    async def read(self, key: str, max_bytes: int) -> bytes | None:
        """See ``ObjectStore.read``."""
        found = await self.stat(key)
        if found is None or not (found.size_bytes and max_bytes):
            return None if found is None else b""
        try:
            return await self._run("read", read_range, self._client, self._bucket, key, 0, max_bytes)
        except ObjectNotFound:
            return None

    async def copy(self, source: str, target: str) -> None:
        """See ``ObjectStore.copy``."""
        await self._run(
            "copy",
            self._client.copy_object,
            self._bucket,
            target,
            CopySource(self._bucket, source),
            sse=self._sse,
        )

    async def delete(self, key: str) -> None:
        """See ``ObjectStore.delete``."""
        try:
            await self._run("delete", self._client.remove_object, self._bucket, key)
        except ObjectNotFound:
            log.debug("object_gone_already", key=key)

    async def _run(self, action: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        def call() -> T:
            with s3_errors(action, self._bucket):
                return function(*args, **kwargs)

        return await self._workers.run(action, call)


def _sse(encryption: Encryption, kms_key_id: str) -> Sse | None:
    if encryption == "sse-s3":
        return SseS3()
    if encryption == "sse-kms":
        return _KmsWithOwnKey() if not kms_key_id else SseKMS(kms_key_id, {})
    return None


class _KmsWithOwnKey(SseS3):
    """SSE-KMS with the bucket's own key, which the client has no class for."""

    def headers(self) -> dict[str, str]:
        return {"X-Amz-Server-Side-Encryption": "aws:kms"}


def _sha256(value: str | None) -> bytes | None:
    # "…-3" is a checksum of parts' checksums, which says nothing about the content's own.
    try:
        decoded = base64.b64decode(value or "", validate=True)
    except binascii.Error:
        return None
    return decoded if len(decoded) == 32 else None
