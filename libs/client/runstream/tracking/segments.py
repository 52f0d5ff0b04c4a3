"""Records on disk: what a crash leaves of a segment file is always a prefix of its records.

A segment is a sequence of records; a record is a header (payload length, CRC-32 of all that follows it, kind, number
of points) and a payload. Reading stops at the first record that is cut short or whose checksum is wrong.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEADER = struct.Struct("<II")
_META = struct.Struct("<BI")
OVERHEAD_BYTES = _HEADER.size + _META.size
# No record of ours is near it; a greater length in a header is garbage and must not be allocated.
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024


class RecordKind(IntEnum):
    """What a payload is. The numbers are on disk and never change their meaning."""

    CREATE_RUN = 1
    METRICS = 2
    LOG_BATCH = 3
    LOG_INPUTS = 4
    UPDATE_RUN = 5
    REJECTED = 6
    HEARTBEAT = 7


@dataclass(frozen=True, slots=True)
class Record:
    """One thing to do.

    Attributes:
        kind: what the payload is.
        payload: a serialized message.
        points: metric points in it.
    """

    kind: RecordKind
    payload: bytes
    points: int = 0

    def encode(self) -> bytes:
        """The record as on disk."""
        body = _META.pack(self.kind, self.points) + self.payload
        return _HEADER.pack(len(self.payload), zlib.crc32(body)) + body


def read_records(path: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Read a segment's whole records in order, each with the offset behind it.

    Args:
        path: segment file.
        offset: where to begin: 0 or an offset that was returned with a record.
    """
    with path.open("rb") as file:
        file.seek(offset)
        while True:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return
            length, checksum = _HEADER.unpack(header)
            if length > MAX_PAYLOAD_BYTES:
                return
            body = file.read(_META.size + length)
            if len(body) < _META.size + length or zlib.crc32(body) != checksum:
                return
            kind, points = _META.unpack_from(body)
            try:
                record = Record(RecordKind(kind), body[_META.size :], points)
            except ValueError:
                # Written by a newer version: as unreadable as a torn record.
                return
            yield record, file.tell()
