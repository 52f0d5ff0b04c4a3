"""The codec must give back every bit, whatever the numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from runstream_metadata.chunks import (
    CorruptChunk,
    Order,
    decode_ints,
    decode_values,
    encode_chunk,
    encode_ints,
    encode_values,
)
from runstream_metadata.metrics import Points

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
INT64 = st.integers(INT64_MIN, INT64_MAX)
NEAR = st.integers(1_700_000_000_000, 1_700_000_000_300)
INTS = st.one_of(
    st.lists(INT64, min_size=1, max_size=40),
    st.lists(NEAR, min_size=1, max_size=40),
    st.lists(st.integers(0, 70_000), min_size=1, max_size=40).map(lambda deltas: np.cumsum(deltas).tolist()),
    st.builds(
        lambda start, stride, count: [start + stride * i for i in range(count)],
        INT64.filter(lambda n: abs(n) < 2**60),
        st.integers(-1000, 1000),
        st.integers(1, 40),
    ),
)
BITS = st.integers(0, 2**64 - 1)


@given(INTS)
@example([INT64_MAX, INT64_MIN])
@example([INT64_MIN, INT64_MAX, INT64_MIN])
@example([INT64_MAX - 1, INT64_MAX, INT64_MIN])
def test_ints_round_trip_and_facts_are_true(numbers: list[int]) -> None:
    encoded = encode_ints(np.array(numbers, np.int64))
    decoded = np.empty(len(numbers), np.int64)
    decode_ints(encoded.data, decoded)
    assert decoded.tolist() == numbers
    assert (encoded.least, encoded.greatest) == (min(numbers), max(numbers))
    pairs = list(itertools.pairwise(numbers))
    assert encoded.falls == any(b < a for a, b in pairs)
    assert encoded.repeats == any(b <= a for a, b in pairs)


@given(
    st.one_of(
        st.lists(BITS, min_size=1, max_size=40),
        st.lists(st.floats(width=32), min_size=10, max_size=40).map(
            lambda values: np.array(values, np.float64).view(np.uint64).tolist()
        ),
        st.builds(lambda bits, count: [bits] * count, BITS, st.integers(1, 40)),
    )
)
@example([0x7FF0000000000001, 0x7FF8000000000001])  # a signalling and a quiet NaN with payloads
@example([0x8000000000000000, 0])  # -0.0 and 0.0
def test_values_keep_every_bit(bits: list[int]) -> None:
    values = np.array(bits, np.uint64).view(np.float64)
    decoded = np.empty(len(bits), np.float64)
    decode_values(encode_values(values), decoded)
    assert decoded.view(np.uint64).tolist() == bits


def _size(numbers: np.ndarray) -> int:
    return len(encode_ints(numbers.astype(np.int64)).data)


def test_regular_columns_are_small() -> None:
    count = 10_000
    jitter = np.random.default_rng(1).integers(0, 50, count)
    assert _size(np.arange(count)) < 20
    assert _size(np.arange(count) * 100 + jitter) < 1.01 * count
    assert _size(np.arange(count) * 100_000 + jitter * 500) < 2.01 * count
    losses = np.random.default_rng(1).random(count).astype(np.float32).astype(np.float64)
    assert len(encode_values(losses)) == 1 + 4 * count
    assert len(encode_values(np.full(count, 0.1))) == 9


@pytest.mark.parametrize(
    ("steps", "times", "order"),
    [
        ([1, 2, 3], [5, 5, 6], Order.STEPS_RISE | Order.TIMES_RISE | Order.UNIQUE),
        ([1, 1, 3], [5, 6, 7], Order.TIMES_RISE),
        ([1, 2, 3], [5, 4, 7], Order.STEPS_RISE | Order.UNIQUE),
        ([3, 2, 1], [7, 6, 5], Order.NONE),
    ],
)
def test_order_is_noted(steps: list[int], times: list[int], order: Order) -> None:
    points = Points(np.array(steps), np.array(times), np.zeros(len(steps)))
    assert encode_chunk(points).order == order
    assert Order.UNIQUE in encode_chunk(points, unique=True).order


@pytest.mark.parametrize("data", [b"", b"\x07", b"\x00" * 5, b"\x01" * 3, b"\x02" * 20])
def test_damaged_columns_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptChunk):
        decode_ints(data, np.empty(9, np.int64))
    with pytest.raises(CorruptChunk):
        decode_values(data, np.empty(9, np.float64))
