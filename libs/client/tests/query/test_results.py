"""Results: ways out to pandas, Arrow, JSON and notebooks."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from runstream.query import client_translation as translation
from runstream.query import frames, notebook
from runstream.query.results import ComparedValue, RunComparison, RunTable
from runstream.query.results_metrics import MetricHistories, MetricHistory
from runstream_proto.metadata.v1 import metric_service_pb2 as metric_pb
from runstream_proto.metadata.v1 import types_pb2 as types_pb


def a_history(values, run_id="a" * 32):
    steps = np.arange(len(values))
    return MetricHistory(run_id, "loss", steps, 1_700_000_000_000 + steps, np.array(values, dtype=float))


def a_run(**fields):
    return translation.run_of(types_pb.Run(run_id="a" * 32, run_name="<b>bold</b>", **fields))


def test_a_history_becomes_a_frame_with_utc_times():
    frame = a_history([1.0, 2.0]).to_pandas()
    assert list(frame.columns) == ["step", "timestamp", "value"]
    assert frame.timestamp[1].to_pydatetime() == datetime(2023, 11, 14, 22, 13, 20, 1000, tzinfo=UTC)
    table = a_history([1.0, 2.0]).to_arrow()
    assert table.column("timestamp").to_pylist()[0].tzname() == "UTC"
    assert table.column("value").to_pylist() == [1.0, 2.0]


def test_histories_become_one_long_frame():
    histories = MetricHistories(
        {("a", "loss"): a_history([1.0], "a"), ("b", "loss"): a_history([2.0, 3.0], "b")}
    )
    frame = histories.to_pandas()
    assert list(frame.run_id) == ["a", "b", "b"]
    assert list(MetricHistories({}).to_pandas().columns) == ["run_id", "key", "step", "timestamp", "value"]


@pytest.mark.parametrize(
    ("module", "extra", "use"), [("pandas", "pandas", "to_pandas"), ("pyarrow", "arrow", "to_arrow")]
)
def test_a_missing_extra_is_named(monkeypatch, module, extra, use):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'runstream\[{extra}\]'"):
        getattr(a_history([1.0]), use)()


def test_json_holds_what_json_cannot():
    shape = a_history([float("nan"), float("inf"), -float("inf"), 1.5]).to_dict()
    assert json.loads(json.dumps(shape, allow_nan=False))["values"] == ["NaN", "Infinity", "-Infinity", 1.5]


def test_times_beyond_a_datetime_become_its_bounds():
    assert frames.time_of(2**62).year == 9999
    assert frames.time_of(-(2**62)).year == 1


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.0],
        [2.0, 2.0],
        [float("nan")],
        [1.0, float("inf"), 3.0],
        [-1.7e308, 1.7e308],
        list(np.random.rand(5000)),
    ],
)
def test_a_sparkline_is_well_formed_and_stays_inside(values):
    history = a_history(values)
    svg = ET.fromstring(notebook.sparkline_svg(history.steps, history.values))
    points = [tuple(map(float, pair.split(","))) for pair in svg[0].attrib["points"].split()]
    assert len(points) <= 2 * notebook.MAX_SPARKLINE_PIECES
    assert bool(points) == bool(np.isfinite(history.values).any())
    assert all(0 <= x <= notebook.WIDTH and 0 <= y <= notebook.HEIGHT for x, y in points)


def test_a_sparkline_keeps_a_spike_among_many_points():
    values = np.zeros(100_000)
    values[54_321] = 100.0
    svg = ET.fromstring(notebook.sparkline_svg(np.arange(100_000), values))
    heights = [float(pair.split(",")[1]) for pair in svg[0].attrib["points"].split()]
    assert min(heights) == notebook.MARGIN
    assert heights.count(min(heights)) == 1


def test_html_shows_text_of_users_as_text():
    run = a_run(params=[types_pb.KeyValue(key="k", value="<script>")])
    table = RunTable([run])
    for shown in (run, table, RunComparison(table)):
        html = shown._repr_html_()
        assert "<script>" not in html
        assert "<b>bold</b>" not in html
    assert "5,000 points" in a_history(np.zeros(5000))._repr_html_()


def test_values_that_are_nan_everywhere_do_not_differ():
    def run(value):
        return a_run(metrics=[types_pb.LatestMetric(key="loss", value=value)])

    rows = RunComparison(RunTable([run(float("nan")), run(float("nan"))])).rows()
    assert [row.differs for row in rows] == [False]
    assert RunComparison(RunTable([run(1.0), run(float("nan"))])).rows()[0].differs
    assert ComparedValue("metric", "k", (None, float("nan")), differs=True).to_dict()["values"] == [
        None,
        "NaN",
    ]


def unpacked(message):
    """The same message with every array written number by number, which is legal protobuf."""
    data = bytearray(b"\x0a\x01r")
    series = bytearray(b"\x0a\x04loss")
    for tag, column in ((0x11, message.steps), (0x19, message.timestamps_ms), (0x21, message.values)):
        kind = "<f8" if tag == 0x21 else "<i8"
        for number in column:
            series += bytes([tag]) + np.array(number, kind).tobytes()
    return bytes(data + b"\x12" + bytes([len(series)]) + series)


def test_columns_in_another_legal_form_are_understood():
    plain = metric_pb.StreamMetricHistoryResponse(run_id="r")
    plain.series.key = "loss"
    plain.series.steps.extend([1, -2])
    plain.series.timestamps_ms.extend([3, 4])
    plain.series.values.extend([0.5, float("inf")])
    odd = unpacked(plain.series)
    assert metric_pb.StreamMetricHistoryResponse.FromString(odd) == plain
    assert translation.part_view(odd) == translation.part_view(plain.SerializeToString())
    assert translation.part_of(translation.part_view(odd)).steps.tolist() == [1, -2]


def test_a_status_of_a_newer_server_is_shown_by_number():
    run = types_pb.Run.FromString(b"\x28\x63")
    assert translation.run_of(run).status == "UNKNOWN_99"
