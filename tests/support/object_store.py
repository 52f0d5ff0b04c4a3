"""Object stores for tests, and a client that sends what they signed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import urllib3
from runstream_common.clock import SystemClock
from runstream_common.object_store.api import MIN_PART_BYTES
from runstream_common.object_store.local import LocalServing, LocalStore
from runstream_common.object_store.location import S3Location, parse_location
from runstream_common.object_store.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runstream_common.object_store.api import ObjectStore, SignedRequest

    from deploy.local.s3.s3 import S3Server

SECRET = b"a secret of at least 32 random bytes"
EXPIRES_SECONDS = 600


class ShiftedClock(SystemClock):
    """The machine's clock, `shift_seconds` later."""

    def __init__(self) -> None:
        self.shift_seconds = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.shift_seconds * 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Sender:
    """Sends signed requests as they are, or changed."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(maxsize=8, retries=False, timeout=30.0)

    async def __call__(
        self,
        request: SignedRequest,
        body: bytes | None = None,
        *,
        method: str = "",
        url: str = "",
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """Send it; `headers` are put over the signed ones, None takes one away."""
        over = {**request.headers, **(headers or {})}
        sent = {name: value for name, value in over.items() if value is not None}
        target = absolute(url or request.url)
        answer = await asyncio.to_thread(
            self._pool.request, method or request.method, target, body=body, headers=sent
        )
        return Answer(answer.status, answer.data, answer.headers)

    def close(self) -> None:
        self._pool.clear()


def absolute(url: str) -> str:
    """The URL with the host that a URL without one means here."""
    return url.replace("http://:", "http://127.0.0.1:", 1)


def local_store(root: Path, *, clock: ShiftedClock | None = None) -> LocalStore:
    """A store in a folder, not started; the same folder may get another one later."""

    async def secret() -> bytes:
        return SECRET

    return LocalStore(root, LocalServing(secret, "127.0.0.1", 0), clock=clock)


def s3_url(server: S3Server, bucket: str = "") -> str:
    """What `object_store_url` says for a bucket of the server; one that no test has without a name."""
    bucket = bucket or f"test-{uuid.uuid4().hex[:12]}"
    return f"s3://{server.access_key}:{server.secret_key}@127.0.0.1:{server.port}/{bucket}"


def s3_store(server: S3Server, *, clock: ShiftedClock | None = None) -> S3Store:
    """A store in a bucket of its own, not started."""
    location = parse_location(s3_url(server))
    assert isinstance(location, S3Location)
    return S3Store(location, clock=clock)


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def signed_put(store: ObjectStore, key: str, content: bytes) -> SignedRequest:
    return store.sign_put(
        key,
        size_bytes=len(content),
        sha256=sha256(content),
        content_type="text/plain",
        expires_seconds=EXPIRES_SECONDS,
    )


def signed_get(store: ObjectStore, key: str, *, file_name: str = "a.txt") -> SignedRequest:
    return store.sign_get(
        key, file_name=file_name, content_type="text/plain", expires_seconds=EXPIRES_SECONDS
    )


class Multipart:
    """A content of three parts on its way to a key."""

    def __init__(self, store: ObjectStore, send: Sender, key: str, *, seed: bytes = b"part") -> None:
        self.parts = [
            (seed + b"1") * (MIN_PART_BYTES // len(seed + b"1") + 1),
            (seed + b"2") * (MIN_PART_BYTES // len(seed + b"2") + 1),
            seed + b"3",
        ]
        self.parts[0] = self.parts[0][:MIN_PART_BYTES]
        self.parts[1] = self.parts[1][:MIN_PART_BYTES]
        self.content = b"".join(self.parts)
        self.key = key
        self.store = store
        self.upload_id = ""
        self._send = send

    async def open(self) -> None:
        self.upload_id = await self.store.create_multipart(
            self.key,
            content_type="text/plain",
            size_bytes=len(self.content),
            part_size_bytes=MIN_PART_BYTES,
        )

    def signed(self, number: int) -> SignedRequest:
        part = self.parts[number - 1]
        return self.store.sign_part(
            self.key,
            self.upload_id,
            number,
            size_bytes=len(part),
            crc32_base64=crc32(part),
            expires_seconds=EXPIRES_SECONDS,
        )

    async def send(self, number: int, content: bytes | None = None) -> Answer:
        return await self._send(self.signed(number), self.parts[number - 1] if content is None else content)

    async def received(self) -> list[int]:
        return [part.number for part in await self.store.list_parts(self.key, self.upload_id)]

    async def complete(self) -> None:
        parts = await self.store.list_parts(self.key, self.upload_id)
        await self.store.complete_multipart(self.key, self.upload_id, parts)
