"""The codec of stored chunks: columns of points as compact bytes, lossless to the bit, without work per point.

Each column begins with a tag byte that tells its encoding. Everything is little-endian.

    int64   RAW     8 bytes a point
            STRIDE  start, stride                          (steps that count up; regular timestamps)
            DELTA_n start, least delta, then n bytes a delta above the least (irregular timestamps)
    float64 FLOAT64 8 bytes a point
            FLOAT32 4 bytes a point, where no bit is lost  (losses that came out of float32 tensors)
            CONSTANT one value

Differences are taken modulo 2**64, so no int64 is too far from its neighbour.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from runstream_contract.columns import Float64Array, Int64Array

    from runstream_metadata.metrics import Points

MAX_CHUNK_POINTS: Final = 65_536
"""Points of a merged chunk: half a megabyte of values, read in one go."""

_INT64: Final = np.dtype("<i8")
_FLOAT64: Final = np.dtype("<f8")
_FLOAT32: Final = np.dtype("<f4")
_INT64_MAX: Final = 2**63 - 1

_RAW, _STRIDE, _DELTA8, _DELTA16, _DELTA32 = range(5)
_VALUES64, _VALUES32, _CONSTANT = 16, 17, 18
_DELTA_TYPES: Final[dict[int, np.dtype[np.unsignedinteger[Any]]]] = {
    _DELTA8: np.dtype("u1"),
    _DELTA16: np.dtype("<u2"),
    _DELTA32: np.dtype("<u4"),
}
_START_AND_DELTA: Final = struct.Struct("<Bqq")
_HEADER_BYTES: Final = _START_AND_DELTA.size
_SAMPLE_POINTS: Final = 16
"""Values tried before the whole column is: most float64 columns show at once that float32 would lose bits. Columns that
are no longer than this have nothing to gain."""


class CorruptChunk(ValueError):
    """Stored bytes are no column of the expected size."""


class Order(IntFlag):
    """What is known about the points of a chunk, so that readers need not sort or compare them."""

    NONE = 0
    STEPS_RISE = 1
    """Each step is greater than the one before."""
    TIMES_RISE = 2
    """No timestamp is less than the one before."""
    UNIQUE = 4
    """No point is an exact repeat of another one of the chunk."""


# Looked up, since combining flags for every chunk shows in the profile.
_ORDERS: Final = {
    (steps, times, unique): Order(Order.STEPS_RISE * steps + Order.TIMES_RISE * times + Order.UNIQUE * unique)
    for steps in (False, True)
    for times in (False, True)
    for unique in (False, True)
}


class EncodedInts(NamedTuple):
    """An encoded int64 column and what was learned on the way."""

    data: bytes
    least: int
    greatest: int
    falls: bool
    """Whether some number is less than the one before."""
    repeats: bool
    """Whether some number equals the one before, or falls."""


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """One row of metric_chunk, without its series."""

    point_count: int
    min_step: int
    max_step: int
    min_time_ms: int
    max_time_ms: int
    order: Order
    steps: bytes
    timestamps_ms: bytes
    values: bytes


def encode_chunk(points: Points, *, unique: bool = False) -> EncodedChunk:
    """Encode one or more points, in the order given.

    Args:
        unique: the caller knows that no point repeats another one.
    """
    step_column = encode_ints(points.steps)
    time_column = encode_ints(points.timestamps_ms)
    steps_rise = not step_column.repeats
    return EncodedChunk(
        point_count=len(points),
        min_step=step_column.least,
        max_step=step_column.greatest,
        min_time_ms=time_column.least,
        max_time_ms=time_column.greatest,
        order=_ORDERS[steps_rise, not time_column.falls, unique or steps_rise],
        steps=step_column.data,
        timestamps_ms=time_column.data,
        values=encode_values(points.values),
    )


def encode_ints(column: Int64Array) -> EncodedInts:
    """Encode one or more int64 numbers in the fewest bytes of the encodings above."""
    start = int(column[0])
    if len(column) == 1:
        return EncodedInts(_START_AND_DELTA.pack(_STRIDE, start, 0), start, start, False, False)
    deltas = column[1:] - column[:-1]
    least, greatest = int(deltas.min()), int(deltas.max())
    data = _pack_ints(column, deltas, start, least, greatest)
    # Rising by no more than `greatest` each, they cannot have passed the end of int64 and come out at the other side.
    if least >= 0 and start + greatest * (len(column) - 1) <= _INT64_MAX:
        return EncodedInts(data, start, int(column[-1]), False, least == 0)
    falls = bool((column[1:] < column[:-1]).any())
    repeats = falls or bool((column[1:] == column[:-1]).any())
    return EncodedInts(data, int(column.min()), int(column.max()), falls, repeats)


def _pack_ints(column: Int64Array, deltas: Int64Array, start: int, least: int, greatest: int) -> bytes:
    spread = greatest - least
    if spread == 0:
        return _START_AND_DELTA.pack(_STRIDE, start, least)
    for tag, dtype in _DELTA_TYPES.items():
        if spread < 1 << (8 * dtype.itemsize):
            return _START_AND_DELTA.pack(tag, start, least) + (deltas - least).astype(dtype).tobytes()
    return bytes((_RAW,)) + column.astype(_INT64, copy=False).tobytes()


def encode_values(column: Float64Array) -> bytes:
    """Encode one or more float64 numbers; every bit is kept, of NaN and -0.0 too."""
    bits = column.view(_INT64)
    if bits[0] == bits[-1] and bool((bits == bits[0]).all()):
        return bytes((_CONSTANT,)) + column[:1].tobytes()
    if len(column) > _SAMPLE_POINTS and _as_float32(column[:_SAMPLE_POINTS]) is not None:
        narrow = _as_float32(column)
        if narrow is not None:
            return bytes((_VALUES32,)) + narrow
    return bytes((_VALUES64,)) + column.astype(_FLOAT64, copy=False).tobytes()


def _as_float32(column: Float64Array) -> bytes | None:
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        narrow = column.astype(_FLOAT32)
        same = np.array_equal(narrow.astype(_FLOAT64).view(_INT64), column.view(_INT64))
    return narrow.tobytes() if same else None


def decode_ints(data: bytes, into: Int64Array) -> None:
    """Decode a column of ``len(into)`` numbers.

    Raises:
        CorruptChunk: the bytes are none.
    """
    tag = data[0] if data else -1
    if tag == _RAW:
        into[:] = _numbers(data, 1, _INT64, len(into))
        return
    if len(data) < _HEADER_BYTES or (tag != _STRIDE and tag not in _DELTA_TYPES):
        raise CorruptChunk(f"unknown encoding {tag} of an int64 column of {len(data)} bytes")
    _, start, delta = _START_AND_DELTA.unpack_from(data)
    if tag == _STRIDE:
        np.multiply(np.arange(len(into)), delta, out=into)
        into += start
        return
    into[0] = start
    np.add(_numbers(data, _HEADER_BYTES, _DELTA_TYPES[tag], len(into) - 1), delta, out=into[1:], dtype=_INT64)
    np.cumsum(into, out=into)


def decode_values(data: bytes, into: Float64Array) -> None:
    """Decode a column of ``len(into)`` numbers.

    Raises:
        CorruptChunk: the bytes are none.
    """
    tag = data[0] if data else -1
    if tag == _VALUES64:
        into[:] = _numbers(data, 1, _FLOAT64, len(into))
    elif tag == _VALUES32:
        # By way of the bits: a signalling NaN never gets here, see _as_float32.
        into[:] = _numbers(data, 1, _FLOAT32, len(into))
    elif tag == _CONSTANT:
        into[:] = _numbers(data, 1, _FLOAT64, 1)[0]
    else:
        raise CorruptChunk(f"unknown encoding {tag} of a float64 column of {len(data)} bytes")


def _numbers(data: bytes, offset: int, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    if len(data) != offset + count * dtype.itemsize:
        raise CorruptChunk(f"a column of {count} points has {len(data)} bytes")
    return np.frombuffer(data, dtype, count, offset)
