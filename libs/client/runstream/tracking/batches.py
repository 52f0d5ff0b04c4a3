"""Batches of points as they are sent: encoded once, with an id that makes repeats harmless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_contract.columns import Series, encode
from runstream_contract.ids import new_batch_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# An eighth of the contract's limit: several batches are under way at once, and a repeat costs little.
TARGET_POINTS = 131_072
_SEQUENCE_TAG = b"\x20"  # field 4, varint: StreamMetricsRequest.sequence


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Encoded points of one run.

    Attributes:
        run_id: run they belong to.
        data: serialized RunLogged.
        points: how many.
    """

    run_id: str
    data: bytes
    points: int

    def with_sequence(self, sequence: int) -> bytes:
        """The batch as StreamMetricsRequest; protobuf fields may be appended."""
        return self.data + _SEQUENCE_TAG + _varint(sequence)


def encode_batches(
    run_id: str, series: Iterable[Series], *, target_points: int = TARGET_POINTS
) -> Iterator[Batch]:
    """Encode series in order as batches of at most `target_points`; long series are cut, short ones share a batch."""
    group: list[Series] = []
    points = 0
    for piece in _pieces(series, target_points):
        if points + len(piece) > target_points:
            yield _batch(run_id, group, points)
            group, points = [], 0
        group.append(piece)
        points += len(piece)
    if group:
        yield _batch(run_id, group, points)


def _pieces(series: Iterable[Series], size: int) -> Iterator[Series]:
    for one in series:
        for start in range(0, len(one), size):
            cut = slice(start, start + size)
            yield Series(one.key, one.steps[cut], one.timestamps_ms[cut], one.values[cut])


def _batch(run_id: str, group: Sequence[Series], points: int) -> Batch:
    return Batch(run_id, encode(new_batch_id(), run_id, group), points)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
