"""Reading parts of an artifact without downloading it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument

from runstream.artifacts.cancelling import Cancellation
from runstream.artifacts.transport import RequestFailed, RequestRefused, repeated

if TYPE_CHECKING:
    from runstream_proto.artifact.v1 import types_pb2 as types_pb

    from runstream.artifacts.calls import ArtifactCalls
    from runstream.artifacts.locations import Location
    from runstream.artifacts.transport import Transport

BUFFER_BYTES = 1024 * 1024
"""Asked for at once by a file that is read in small steps."""


class RangeReader:
    """Reads ranges of one file; they are not checked against its digest, which covers the whole.

    Args:
        calls: for signed requests.
        transport: HTTP.
        location: the file.
        retry_seconds: how long a failing store is tried again.

    Raises:
        NotFound: there is no such file.
    """

    def __init__(
        self, calls: ArtifactCalls, transport: Transport, location: Location, retry_seconds: float
    ) -> None:
        self._calls = calls
        self._transport = transport
        self._location = location
        self._retry_seconds = retry_seconds
        self._download = self._sign()

    @property
    def artifact(self) -> types_pb.Artifact:
        """What is read."""
        return self._download.artifact

    def read(self, offset: int, length: int | None) -> bytes:
        """Bytes from an offset; fewer at the end of the file.

        Args:
            offset: first byte, 0 or greater.
            length: at most so many, 0 or greater; None means up to the end.

        Raises:
            InvalidArgument: a number is negative.
            ObjectStoreAway: the store kept failing.
        """
        if offset < 0:
            raise InvalidArgument.of("offset", f"is {offset}, must be 0 or greater")
        if length is not None and length < 0:
            raise InvalidArgument.of("length", f"is {length}, must be 0 or greater")
        size_bytes = self.artifact.size_bytes
        end = size_bytes if length is None else min(size_bytes, offset + length)
        if offset >= end:
            return b""
        content = b""

        def attempt() -> None:
            nonlocal content
            try:
                content = self._fetch(offset, end)
            except RequestRefused as error:
                if not error.may_have_expired:
                    raise
                self._download = self._sign()
                content = self._fetch(offset, end)

        repeated(attempt, self._location.uri, self._retry_seconds, Cancellation())
        return content

    def _fetch(self, start: int, end: int) -> bytes:
        with self._transport.get(self._download.request, start=start, end=end) as pieces:
            content = b"".join(map(bytes, pieces))
        if len(content) != end - start:
            raise RequestFailed(f"the store sent {len(content)} of {end - start} bytes")
        return content

    def _sign(self) -> types_pb.Download:
        return self._calls.create_downloads(self._location.owner, [self._location.path])[0]


class ArtifactFile(io.RawIOBase):
    """An artifact as a read-only binary file that can seek; wrap it in `io.BufferedReader`."""

    def __init__(self, reader: RangeReader) -> None:
        super().__init__()
        self._reader = reader
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; see `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.artifact.size_bytes}
        position = base[whence] + offset
        if position < 0:
            raise ValueError(f"negative position {position}")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; returns the number of bytes, 0 at the end."""
        view = memoryview(buffer).cast("B")
        content = self._reader.read(self._position, len(view))
        view[: len(content)] = content
        self._position += len(content)
        return len(content)
