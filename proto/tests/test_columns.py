"""The columns view must be the same bytes as the public message, whatever a conforming producer sends."""

import numpy as np
import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st
from runstream_contract import columns
from runstream_proto.events.v1.run_logged_pb2 import MetricSeries, RunLogged
from runstream_proto.ingest.v1.ingest_service_pb2 import StreamMetricsRequest

INT64 = st.integers(-(2**63), 2**63 - 1)
POINTS = st.lists(st.tuples(INT64, INT64, st.floats()), max_size=20)


def message(points: list[tuple[int, int, float]]) -> RunLogged:
    steps, times, values = zip(*points, strict=True) if points else ((), (), ())
    series = MetricSeries(key="loss", steps=steps, timestamps_ms=times, values=values)
    return RunLogged(batch_id="b", run_id="r", series=[series])


@given(POINTS)
def test_view_reads_what_the_public_message_wrote(points: list[tuple[int, int, float]]) -> None:
    series = columns.series_of(columns.decode(message(points).SerializeToString()).series[0])
    assert series.steps.tolist() == [p[0] for p in points]
    assert series.timestamps_ms.tolist() == [p[1] for p in points]
    np.testing.assert_array_equal(series.values, [p[2] for p in points])


def test_public_message_reads_what_the_view_wrote() -> None:
    series = columns.Series("loss", np.arange(3), np.arange(3) + 7, np.array([1.0, np.nan, np.inf]))
    data = columns.encode("b", "r", [series], sequence=9)
    parsed = StreamMetricsRequest.FromString(data)
    assert (parsed.batch_id, parsed.run_id, parsed.sequence) == ("b", "r", 9)
    assert list(parsed.series[0].steps) == [0, 1, 2]
    assert list(parsed.series[0].timestamps_ms) == [7, 8, 9]


def _unpacked_series() -> bytes:
    """A series whose arrays are written point by point, as proto2-style encoders may do."""
    body = b"\x0a\x04loss"
    for number, form, items in ((2, "<q", (1, 2)), (3, "<q", (5, 6)), (4, "<d", (0.5, 1.5))):
        kind = np.dtype(form[0] + ("i8" if form[1] == "q" else "f8"))
        for item in items:
            body += encoder.TagBytes(number, 1) + np.array(item, kind).tobytes()
    return body


def test_unpacked_arrays_are_understood() -> None:
    series = _unpacked_series()
    data = b"\x0a\x01b\x12\x01r\x1a" + bytes([len(series)]) + series
    decoded = columns.series_of(columns.decode(data).series[0])
    assert decoded.steps.tolist() == [1, 2]
    assert decoded.timestamps_ms.tolist() == [5, 6]
    assert decoded.values.tolist() == [0.5, 1.5]


def test_split_packed_arrays_are_joined() -> None:
    def packed(number: int, array: np.ndarray) -> bytes:
        return encoder.TagBytes(number, 2) + bytes([array.nbytes]) + array.tobytes()

    one = np.array([1], "<i8")
    value = np.array([0.5], "<f8")
    series = b"\x0a\x01k" + b"".join(
        packed(n, a) for n, a in ((2, one), (2, one), (3, one), (3, one), (4, value), (4, value))
    )
    data = b"\x0a\x01b\x12\x01r\x1a" + bytes([len(series)]) + series
    assert columns.series_of(columns.decode(data).series[0]).values.tolist() == [0.5, 0.5]


def test_garbage_is_refused() -> None:
    with pytest.raises(columns.MalformedBatch):
        columns.decode(b"\xff\xff\xff")
