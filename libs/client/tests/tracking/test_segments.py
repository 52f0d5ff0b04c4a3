"""What a crash leaves of a segment is a prefix of its records; damage never invents one."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from runstream.tracking.segments import Record, RecordKind, read_records

RECORDS = st.lists(
    st.builds(Record, st.sampled_from(RecordKind), st.binary(max_size=60), st.integers(0, 2**32 - 1)),
    max_size=8,
)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@settings(deadline=None)
@given(records=RECORDS, data=st.data())
def test_a_crash_at_any_byte_leaves_a_prefix(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("segment") / "00000001.seg"
    encoded = [record.encode() for record in records]
    whole = b"".join(encoded)
    cut = data.draw(st.integers(0, len(whole)))
    found = [record for record, _ in read_records(write(path, whole[:cut]))]
    complete = 0
    while sum(map(len, encoded[: complete + 1])) <= cut and complete < len(encoded):
        complete += 1
    assert found == records[:complete]


@settings(deadline=None)
@given(records=RECORDS.filter(bool), data=st.data())
def test_a_flipped_bit_ends_the_reading_before_the_damage(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("segment") / "00000001.seg"
    whole = bytearray(b"".join(record.encode() for record in records))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    found = [record for record, _ in read_records(write(path, bytes(whole)))]
    damaged = next(
        index
        for index in range(len(records))
        if position < sum(len(record.encode()) for record in records[: index + 1])
    )
    assert found == records[:damaged]


@settings(deadline=None)
@given(records=RECORDS.filter(bool), data=st.data())
def test_reading_goes_on_from_any_offset_that_was_returned(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("segment") / "00000001.seg"
    write(path, b"".join(record.encode() for record in records))
    index = data.draw(st.integers(0, len(records) - 1))
    offset = [end for _, end in read_records(path)][index]
    assert [record for record, _ in read_records(path, offset)] == records[index + 1 :]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_no_record(tmp_path_factory, garbage):
    path = tmp_path_factory.mktemp("segment") / "00000001.seg"
    assert list(read_records(write(path, b"\xff" * 8 + garbage))) == []
