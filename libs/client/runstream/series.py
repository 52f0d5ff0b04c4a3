"""Arrays as a user gives them, checked and made into the columns of one metric key."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from runstream_common.errors import InvalidArgument
from runstream_contract.columns import FLOAT64, INT64, Series

if TYPE_CHECKING:
    import numpy.typing as npt
    from runstream_contract.columns import Float64Array, Int64Array

    from runstream.tracking.buffer import PointBuffer


def series_of_arrays(
    buffer: PointBuffer,
    key: str,
    values: npt.ArrayLike,
    steps: npt.ArrayLike | None,
    timestamps_ms: npt.ArrayLike | None,
) -> Series:
    """Check and convert what `log_series` takes.

    Args:
        buffer: numbers the points that come without steps.
        key: metric key.
        values: shape (n,), converts to float64.
        steps: shape (n,), integers.
        timestamps_ms: shape (n,) or a single number; None means now for all.

    Raises:
        InvalidArgument: an argument breaks a rule; names it.
    """
    value_array = _floats(key, values)
    size = len(value_array)
    own_steps = buffer.next_steps(key, size if steps is None else 0)  # checks the key in any case
    step_array = own_steps if steps is None else _integers("steps", steps, size)
    times = time.time_ns() // 1_000_000 if timestamps_ms is None else timestamps_ms
    time_array = _integers("timestamps_ms", times, size)
    if size and int(time_array.min()) < 0:
        raise InvalidArgument.of(f"timestamps_ms[{int(time_array.argmin())}]", "must be 0 or greater")
    return Series(key, step_array, time_array, value_array)


def _floats(key: str, values: npt.ArrayLike) -> Float64Array:
    try:
        array = np.asarray(values, FLOAT64)
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of("values", f"of metric {key!r} must convert to float64: {error}") from error
    if array.ndim != 1:
        raise InvalidArgument.of(
            "values", f"of metric {key!r} have shape {array.shape}, must have one dimension"
        )
    return array


def _integers(name: str, given: npt.ArrayLike, size: int) -> Int64Array:
    array = np.asarray(given)
    if array.ndim == 0:
        array = np.broadcast_to(array, (size,))
    if array.shape != (size,):
        raise InvalidArgument.of(name, f"have shape {array.shape}, the values have ({size},)")
    if size and not np.can_cast(array.dtype, INT64, "same_kind"):
        raise InvalidArgument.of(name, f"are {array.dtype}, must be integers")
    return array.astype(INT64, copy=False)
