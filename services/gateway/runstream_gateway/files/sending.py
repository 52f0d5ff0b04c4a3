"""Sends a body to an open upload, in as few parts as the store allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_proto.artifact.v1 import artifact_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runstream_proto.artifact.v1 import types_pb2 as types
    from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceAsyncStub

    from runstream_gateway.files.bodies import Body
    from runstream_gateway.files.objects import Objects

LARGEST_PART_BYTES = 1024 * 1024 * 1024
"""Part of a body whose size is known; it is streamed. S3 would take 5 GiB, proxies before it often less."""
FIRST_BUFFER_BYTES = 8 * 1024 * 1024
"""Part of a body of unknown size for a store that must be told: it is held in memory. S3 takes no less than 5 MiB."""
PARTS_OF_A_SIZE = 1_000
"""Buffered parts after which they get twice as large: 10,000 parts must do for 5 TiB."""


class PartSender:
    """Sends bodies.

    Args:
        objects: takes the parts.
        artifacts: signs the parts.
        timeout_seconds: of a call.
    """

    def __init__(self, objects: Objects, artifacts: ArtifactServiceAsyncStub, timeout_seconds: float) -> None:
        self._objects = objects
        self._artifacts = artifacts
        self._timeout_seconds = timeout_seconds

    async def send(self, opened: pb.CreateOpenUploadResponse, body: Body) -> list[str]:
        """Send all of a body; returns the etags of the parts.

        Raises:
            PlatformError: the store has no room, is away, or the upload was given up.
            Exception: what the body raised.
        """
        if not opened.upload.needs_length:
            return [await self.send_part(opened.requests[0], body.rest(), body.size_bytes, body)]
        if body.size_bytes is None:
            return await self._send_buffered(opened, body)
        return await self._send_measured(opened, body, body.size_bytes)

    async def _send_measured(
        self, opened: pb.CreateOpenUploadResponse, body: Body, left_bytes: int
    ) -> list[str]:
        etags: list[str] = []
        while left_bytes or not etags:
            part_bytes = min(left_bytes, LARGEST_PART_BYTES)
            request = await self._request(opened, len(etags) + 1)
            etags.append(await self.send_part(request, body.part(part_bytes), part_bytes, body))
            left_bytes -= part_bytes
        return etags

    async def _send_buffered(self, opened: pb.CreateOpenUploadResponse, body: Body) -> list[str]:
        etags: list[str] = []
        while True:
            part_bytes = FIRST_BUFFER_BYTES << (len(etags) // PARTS_OF_A_SIZE)
            content = b"".join([piece async for piece in body.part(part_bytes)])
            if content or not etags:
                request = await self._request(opened, len(etags) + 1)
                etags.append(await self.send_part(request, _once(content), len(content), body))
            if len(content) < part_bytes:
                return etags

    async def _request(self, opened: pb.CreateOpenUploadResponse, number: int) -> types.SignedRequest:
        if number <= len(opened.requests):
            return opened.requests[number - 1]
        asked = pb.SignOpenPartsRequest(
            upload_id=opened.upload.upload_id, part_numbers=[number], for_service=True
        )
        signed = await self._artifacts.SignOpenParts(asked, timeout=self._timeout_seconds)
        return signed.requests[0]

    async def send_part(
        self,
        request: types.SignedRequest,
        content: AsyncIterator[bytes],
        size_bytes: int | None,
        body: Body,
    ) -> str:
        """Send one part; returns its etag.

        Args:
            request: as signed.
            content: of the part.
            size_bytes: its size; None sends it chunked.
            body: what the content comes from.
        """
        try:
            return await self._objects.put_part(request, content, size_bytes)
        except Exception:
            if body.error is not None:
                # The client's fault, which only shows as a request of ours that broke off.
                raise body.error from None
            raise


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
