"""The hot path: points of one run on their way from the training loop to the background thread.

One call packs one point into 24 bytes and appends them to the key's byte array. Every step of it is a single C call,
so the GIL makes it atomic and no lock is taken: a signal handler or another thread may run between any two of them.
The background thread reads the byte arrays as numpy columns without work per point.
"""

from __future__ import annotations

import struct
import threading
import time
from itertools import count, islice
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np
from runstream_common.errors import InvalidArgument
from runstream_contract.columns import FLOAT64, INT64, Series
from runstream_contract.names import key_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_contract.columns import Int64Array

POINT = np.dtype([("step", INT64), ("timestamp_ms", INT64), ("value", FLOAT64)])
POINT_BYTES = POINT.itemsize

# How long a call may wait when the buffer is full. After one such wait in vain, points are dropped at once for a while:
# waiting on every call would slow training a thousandfold.
MAX_WAIT_SECONDS = 0.02
DROP_PERIOD_SECONDS = 1.0

_pack = struct.Struct("<qqd").pack
_time_ns = time.time_ns
_NS_PER_MS = 1_000_000


class _Column:
    """Points of one key that wait, and the number of the next point that is logged without a step."""

    __slots__ = ("data", "steps")

    def __init__(self) -> None:
        self.data = bytearray()
        self.steps = count()


class PointBuffer:
    """Points of one run that wait for the background thread; thread-safe.

    Args:
        capacity_points: bound of what waits.
        on_full: asks the background thread to drain now.
    """

    def __init__(self, capacity_points: int, on_full: Callable[[], None]) -> None:
        self._capacity_points = capacity_points
        self._on_full = on_full
        self._columns: dict[str, _Column] = {}
        self._appended = count()
        self._released = 0  # points drained or dropped
        self._room = threading.Condition()
        self._drain_lock = threading.RLock()
        self._drop_until = 0.0
        self.dropped_points = 0

    def append(
        self, key: str, value: SupportsFloat, step: int | None = None, timestamp_ms: int | None = None
    ) -> None:
        """Add one point.

        Args:
            key: metric key; checked when it is first used.
            value: anything that converts to float; NaN and infinities are kept.
            step: any int64; None numbers the points of the key that came without a step: 0, 1, 2…
            timestamp_ms: milliseconds since the Unix epoch, 0 or greater; None means now.

        Raises:
            InvalidArgument: key, value, step or timestamp is none; names it.
        """
        try:
            column = self._columns[key]
        except (KeyError, TypeError):
            column = self._add_column(key)
        try:
            packed = _pack(
                next(column.steps) if step is None else step,
                _time_ns() // _NS_PER_MS if timestamp_ms is None else timestamp_ms,
                value,
            )
        except (struct.error, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise _explained(key, value, step, timestamp_ms, error) from error
        if timestamp_ms is not None and timestamp_ms < 0:
            raise InvalidArgument.of("timestamp_ms", f"is {timestamp_ms}, must be 0 or greater")
        if next(self._appended) - self._released >= self._capacity_points and not self._wait_for_room():
            return
        column.data.extend(packed)

    def next_steps(self, key: str, size: int) -> Int64Array:
        """Take the numbers of the next `size` points of a key that come without steps.

        Raises:
            InvalidArgument: the key breaks the rule.
        """
        column = self._columns.get(key) or self._add_column(key)
        return np.fromiter(islice(column.steps, size), INT64, size)

    def drain(self) -> list[Series]:
        """Take everything that waits, by key."""
        with self._drain_lock:
            taken = [(key, _take(column.data)) for key, column in list(self._columns.items()) if column.data]
            with self._room:
                self._released += sum(len(points) for _, points in taken)
                self._room.notify_all()
        return [Series(key, p["step"], p["timestamp_ms"], p["value"]) for key, p in taken]

    def __len__(self) -> int:
        """Points that wait."""
        return sum(len(column.data) for column in list(self._columns.values())) // POINT_BYTES

    def forget_after_fork(self) -> None:
        """Start anew in a forked child: what waits is the parent's to send."""
        self._room = threading.Condition()
        self._drain_lock = threading.RLock()
        for column in self._columns.values():
            column.data = bytearray()
        self._appended, self._released, self.dropped_points, self._drop_until = count(), 0, 0, 0.0

    def _add_column(self, key: str) -> _Column:
        if not isinstance(key, str):
            raise InvalidArgument.of("key", f"is {type(key).__name__}, must be str")
        problem = key_problem(key)
        if problem is not None:
            raise InvalidArgument.of("key", f"{key[:300]!r} {problem}")
        # setdefault is atomic: two threads that are first with a key get the same column.
        return self._columns.setdefault(key, _Column())

    def _wait_for_room(self) -> bool:
        """Whether there is room for the point that was counted; if not, it is counted as dropped."""
        with self._room:
            if time.monotonic() >= self._drop_until:
                self._on_full()
                if self._room.wait_for(self._has_room, MAX_WAIT_SECONDS):
                    return True
                self._drop_until = time.monotonic() + DROP_PERIOD_SECONDS
            self.dropped_points += 1
            self._released += 1
            return False

    def _has_room(self) -> bool:
        return len(self) < self._capacity_points


def _take(data: bytearray) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    # Two atomic steps: what is appended between them lies behind the cut and stays.
    size = len(data)
    taken = bytes(data[:size])
    del data[:size]
    return np.frombuffer(taken, POINT)


def _explained(
    key: str, value: object, step: object, timestamp_ms: object, error: Exception
) -> InvalidArgument:
    for name, given in (("step", step), ("timestamp_ms", timestamp_ms)):
        if given is not None and not _is_int64(given):
            return InvalidArgument.of(name, f"of metric {key!r} is {given!r:.100}, must be a 64-bit integer")
    return InvalidArgument.of("value", f"of metric {key!r} is {value!r:.100}, must convert to float: {error}")


def _is_int64(given: object) -> bool:
    try:
        struct.pack("<q", given)
    except struct.error:
        return False
    return True
