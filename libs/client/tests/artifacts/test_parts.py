"""Parts, ranges and batches."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from runstream.artifacts.parts import batches, missing_parts, parts_of

sizes = st.integers(0, 2_000)
part_sizes = st.integers(1, 500)


@given(sizes, part_sizes)
def test_parts_cover_everything_once(size, part_size):
    parts = list(parts_of(size, part_size))
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [byte for part in parts for byte in range(part.start, part.end)] == list(range(size))
    assert all(part.size_bytes == part_size for part in parts[:-1])


@given(sizes, part_sizes, st.dictionaries(st.integers(0, 60), st.integers(0, 501)))
def test_missing_parts_are_those_without_the_right_size(size, part_size, received):
    missing = set(missing_parts(size, part_size, received))
    there = [part for part in parts_of(size, part_size) if part not in missing]
    assert all(received[part.number] == part.size_bytes for part in there)
    assert all(received.get(part.number) != part.size_bytes for part in missing)


@given(st.lists(st.integers(0, 100)), st.integers(1, 7), st.integers(1, 200))
def test_batches_keep_order_and_bounds(items, max_count, max_bytes):
    groups = list(batches(items, lambda item: item, max_count, max_bytes))
    assert [item for group in groups for item in group] == items
    assert all(1 <= len(group) <= max_count for group in groups)
    assert all(len(group) == 1 or sum(group) <= max_bytes for group in groups)
    # No two neighbours would have fitted together.
    for first, second in itertools.pairwise(groups):
        assert len(first) == max_count or sum(first) + second[0] > max_bytes
