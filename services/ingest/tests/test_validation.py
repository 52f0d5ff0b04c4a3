"""Checks at the edge: every refusal names field, key and index (promise 5)."""

import numpy as np
import pytest
from runstream_common.errors import InvalidArgument
from runstream_contract.columns import Series, encode
from runstream_contract.ids import new_batch_id, new_run_id
from runstream_contract.limits import MAX_POINTS_PER_BATCH
from runstream_ingest.intake import check, decode_message
from runstream_ingest.validation import MAX_VIOLATIONS
from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns, RunLoggedColumns


def series(key: str = "loss", count: int = 3) -> Series:
    steps = np.arange(count, dtype=np.int64)
    return Series(key, steps, steps + 1_700_000_000_000, steps.astype(np.float64))


def violations(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidArgument) as caught:
        check(decode_message(data), data)
    return [(v.field, v.description) for v in caught.value.violations]


def test_good_batch_passes_with_its_count_and_bytes() -> None:
    run_id, batch_id = new_run_id(), new_batch_id()
    data = encode(batch_id, run_id, [series(), series("acc", 5)])
    batch = check(decode_message(data), data)
    assert (batch.run_id, batch.batch_id, batch.point_count) == (run_id, batch_id, 8)
    assert batch.data is data


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_are_allowed(value: float) -> None:
    points = Series("loss", np.array([1]), np.array([1]), np.array([value]))
    data = encode(new_batch_id(), new_run_id(), [points])
    assert check(decode_message(data), data).point_count == 1


def test_bad_ids_are_named() -> None:
    fields = [field for field, _ in violations(encode("nope", "XYZ", [series()]))]
    assert fields == ["batch_id", "run_id"]


def test_empty_batch_is_refused() -> None:
    assert violations(encode(new_batch_id(), new_run_id(), []))[0][0] == "series"


def test_bad_key_names_its_index() -> None:
    field, text = violations(encode(new_batch_id(), new_run_id(), [series(), series("../x")]))[0]
    assert field == "series[1].key"
    assert "'../x'" in text


def test_unequal_lengths_are_named() -> None:
    broken = MetricSeriesColumns(key="loss", steps=bytes(16), timestamps_ms=bytes(8), values=bytes(16))
    data = RunLoggedColumns(batch_id=new_batch_id(), run_id=new_run_id(), series=[broken]).SerializeToString()
    field, text = violations(data)[0]
    assert field == "series[0] (key 'loss')"
    assert "2, 1 and 2" in text


def test_ragged_bytes_are_refused() -> None:
    broken = MetricSeriesColumns(key="loss", steps=bytes(9), timestamps_ms=bytes(9), values=bytes(9))
    data = RunLoggedColumns(batch_id=new_batch_id(), run_id=new_run_id(), series=[broken]).SerializeToString()
    assert violations(data)


def test_negative_timestamp_names_its_index() -> None:
    points = Series("loss", np.arange(3), np.array([1, 2, -5]), np.zeros(3))
    field, text = violations(encode(new_batch_id(), new_run_id(), [points]))[0]
    assert field == "series[0].timestamps_ms[2]"
    assert "-5" in text


def test_too_many_points_are_refused() -> None:
    # The point limit is reached by cheap columns only above the byte limit, so it is checked on the decoded batch.
    count = MAX_POINTS_PER_BATCH // 2 + 1
    column = bytes(8 * count)
    halves = [
        MetricSeriesColumns(key=k, steps=column, timestamps_ms=column, values=column) for k in ("a", "b")
    ]
    with pytest.raises(InvalidArgument, match="at most 1000000 are allowed"):
        check(RunLoggedColumns(batch_id=new_batch_id(), run_id=new_run_id(), series=halves), b"")


def test_too_large_a_message_is_refused_before_decoding() -> None:
    with pytest.raises(InvalidArgument, match="at most 16777216"):
        decode_message(bytes(16 * 1024 * 1024 + 1))


def test_number_of_violations_is_bounded() -> None:
    bad = [series(f"bad${i}") for i in range(100)]
    assert len(violations(encode(new_batch_id(), new_run_id(), bad))) == MAX_VIOLATIONS
