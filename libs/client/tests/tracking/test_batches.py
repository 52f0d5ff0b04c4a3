"""Cutting and packing of batches."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from runstream.tracking.batches import encode_batches
from runstream_contract.columns import Series, decode, series_of
from runstream_proto.ingest.v1.ingest_service_pb2 import StreamMetricsRequest

RUN_ID = "0" * 32


def series_of_length(key: str, size: int) -> Series:
    return Series(key, np.arange(size), np.arange(size) + 10, np.arange(size) / 2)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 20))
def test_batches_hold_every_point_in_order_and_keep_the_bound(sizes, target):
    given_series = [series_of_length(f"key{i}", size) for i, size in enumerate(sizes)]
    batches = list(encode_batches(RUN_ID, given_series, target_points=target))
    views = [decode(batch.data) for batch in batches]
    pieces = [series_of(columns) for view in views for columns in view.series]
    for one in given_series:
        steps = [int(step) for piece in pieces if piece.key == one.key for step in piece.steps]
        assert steps == one.steps.tolist()
    assert [batch.points for batch in batches] == [sum(len(c.values) // 8 for c in v.series) for v in views]
    assert all(0 < batch.points <= target for batch in batches)
    assert len({view.batch_id for view in views}) == len(views)


@settings(deadline=None)
@given(st.integers(1, 2**64 - 1))
def test_the_sequence_is_appended_without_encoding_again(sequence):
    (batch,) = encode_batches(RUN_ID, [series_of_length("loss", 3)])
    message = StreamMetricsRequest.FromString(batch.with_sequence(sequence))
    assert message.sequence == sequence
    assert list(message.series[0].values) == [0.0, 0.5, 1.0]
    assert decode(batch.with_sequence(sequence)).sequence == sequence
