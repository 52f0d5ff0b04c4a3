"""Sending one file or one part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream.artifacts.hashing import crc32_base64
from runstream.artifacts.transport import RequestRefused, repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runstream_proto.artifact.v1 import types_pb2 as types_pb

    from runstream.artifacts.parts import Part
    from runstream.artifacts.sources import Source
    from runstream.artifacts.transfer import Transfer
    from runstream.artifacts.uploading import Sending


@dataclass(slots=True)
class PartSender:
    """Sends content with signed requests; used by several threads.

    Attributes:
        transfer: calls, HTTP and progress.
        announce: opens a file's upload again, for a newly signed request.
    """

    transfer: Transfer
    announce: Callable[[Sending], None]

    def send_whole(self, sending: Sending) -> None:
        """Send a file in one piece; a request that has expired is signed again."""

        def attempt() -> None:
            upload = sending.upload
            if upload is None or sending.artifact is not None:
                return  # someone else has stored the same content meanwhile
            try:
                self._put(upload.request, sending.file.source, 0, sending.size_bytes)
            except RequestRefused as error:
                sending.file.source.check_unchanged()
                if not error.may_have_expired or sending.repairs:
                    raise
                sending.repairs += 1
                self.announce(sending)
                attempt()

        self._repeat(attempt, sending)

    def send_part(self, sending: Sending, part: Part) -> None:
        """Send one part; its request is signed when it is sent."""
        source = sending.file.source
        upload = sending.upload
        assert upload is not None  # noqa: S101 - only uploads have parts
        checksum = ""
        if upload.part_checksum:
            checksum = crc32_base64(source, part.start, part.end, self.transfer.cancellation)

        def attempt() -> None:
            request = self.transfer.calls.sign_part(upload.upload_id, part.number, checksum)
            try:
                self._put(request, source, part.start, part.end)
            except RequestRefused:
                source.check_unchanged()
                raise

        self._repeat(attempt, sending)

    def _repeat(self, attempt: Callable[[], None], sending: Sending) -> None:
        settings, cancellation = self.transfer.settings, self.transfer.cancellation
        repeated(attempt, sending.file.source.name, settings.transfer_retry_seconds, cancellation)

    def _put(self, request: types_pb.SignedRequest, source: Source, start: int, end: int) -> None:
        counted = 0

        def body() -> Iterator[memoryview]:
            nonlocal counted
            for chunk in source.chunks(start, end):
                self.transfer.cancellation.check()
                yield chunk
                counted += len(chunk)
                self.transfer.meter.advance(len(chunk))

        try:
            self.transfer.transport.put(request, body(), end - start)
        except BaseException:
            self.transfer.meter.advance(-counted)
            raise
