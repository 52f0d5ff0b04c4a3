"""The spool on disk: bounds, locks, replay in order, refusals, torn tails."""

import os
from pathlib import Path

import numpy as np
import pytest
from runstream.connection import Connection
from runstream.tracking.batches import encode_batches
from runstream.tracking.operations import create_run_record, log_batch_record, update_run_record
from runstream.tracking.replay import Claim, Replay, read_rejected
from runstream.tracking.segments import Record, RecordKind
from runstream.tracking.spool import SpoolBudget, SpoolFull, SpoolWriter, segments_of, server_dir, writer_dirs
from runstream_contract.columns import Series
from runstream_proto.metadata.v1.run_service_pb2 import CreateRunRequest, LogBatchRequest, UpdateRunRequest
from runstream_proto.metadata.v1.types_pb2 import KeyValue, RunStatus

RUN_ID = "a" * 32
FAMILY = "01900000-0000-7000-8000-000000000000"


def writer_in(root: Path, *, max_bytes: int = 1 << 20) -> SpoolWriter:
    return SpoolWriter(root / "server" / RUN_ID, FAMILY, SpoolBudget(root, max_bytes))


def metrics(first_step: int, count: int = 3, run_id: str = RUN_ID) -> Record:
    steps = np.arange(first_step, first_step + count)
    (batch,) = encode_batches(run_id, [Series("loss", steps, steps, steps.astype(float))])
    return Record(RecordKind.METRICS, batch.data, batch.points)


def creation() -> Record:
    return create_run_record("offline", CreateRunRequest(run_id=RUN_ID))


def ending() -> Record:
    return update_run_record(UpdateRunRequest(run_id=RUN_ID, status=RunStatus.RUN_STATUS_FINISHED))


def claimed(directory: Path) -> Claim:
    claim = Claim.acquire(directory)
    assert claim is not None
    return claim


def test_a_dead_writers_folder_is_sent_in_order_and_removed(tmp_path, server):
    writer = writer_in(tmp_path)
    param = LogBatchRequest(run_id=RUN_ID, params=[KeyValue(key="rate", value="1")])
    for record in (creation(), metrics(0), log_batch_record(param), metrics(3), ending()):
        writer.append(record)
        writer.seal()
    writer.close()
    with Connection(server.url) as connection, claimed(writer.directory) as claim:
        report = Replay(connection, claim).run()
    assert server.calls == ["create", "metrics", "batch", "metrics", "update:FINISHED"]
    assert server.only_run().values("loss") == [0, 1, 2, 3, 4, 5]
    assert server.experiments["offline"] == server.only_run().request.experiment_id
    assert (report.sent_records, report.sent_points, report.error) == (5, 6, None)
    assert not (tmp_path / "server" / RUN_ID).exists()


def test_a_torn_tail_costs_only_itself_and_is_kept(tmp_path, server):
    writer = writer_in(tmp_path)
    for record in (creation(), metrics(0), metrics(3)):
        writer.append(record)
    writer.seal()
    (segment,) = segments_of(writer.directory)
    os.truncate(segment, segment.stat().st_size - 1)
    writer.close()
    with Connection(server.url) as connection, claimed(writer.directory) as claim:
        report = Replay(connection, claim).run()
    assert server.only_run().values("loss") == [0, 1, 2]
    assert report.unreadable_bytes > 0
    assert len(list((tmp_path / "server" / RUN_ID / "rejected").glob("*.torn"))) == 1


def test_a_replay_that_is_cut_off_goes_on_where_it_was(tmp_path, server):
    writer = writer_in(tmp_path)
    for record in (creation(), metrics(0), ending(), metrics(3)):
        writer.append(record)
    writer.close()
    server_calls_before_stop = 2
    with Connection(server.url) as connection, claimed(writer.directory) as claim:
        first = Replay(connection, claim, is_stopped=lambda: len(server.calls) >= server_calls_before_stop)
        assert first.run().error is not None
    with Connection(server.url) as connection, claimed(writer.directory) as claim:
        assert Replay(connection, claim).run().error is None
    assert server.calls.count("create") == 1
    assert server.only_run().values("loss") == [0, 1, 2, 3, 4, 5]
    assert set(server.only_run().points.values()) == {1}


def test_a_refused_record_is_kept_with_the_reason_and_holds_nothing_up(tmp_path, server):
    """B7: what the server refuses for good is reported and not lost."""
    writer = writer_in(tmp_path)
    unknown = metrics(0, run_id="b" * 32)
    for record in (creation(), unknown, metrics(3)):
        writer.append(record)
    writer.close()
    with Connection(server.url) as connection, claimed(writer.directory) as claim:
        report = Replay(connection, claim).run()
    assert (report.rejected_records, report.rejected_points, report.sent_points) == (1, 3, 3)
    ((reason, payload, points),) = read_rejected(tmp_path / "server" / RUN_ID)
    assert (reason["reason"], payload, points) == ("RUN_NOT_FOUND", unknown.payload, 3)


def test_an_absent_server_keeps_everything(tmp_path, server):
    writer = writer_in(tmp_path)
    writer.append(creation())
    writer.append(metrics(0))
    writer.close()
    server.stop()
    with Connection(server.url) as connection, claimed(writer.directory) as claim:
        report = Replay(connection, claim).run()
    assert report.error is not None
    assert report.error.retryable
    assert len(segments_of(writer.directory)) == 1


def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path):
    writer = writer_in(tmp_path, max_bytes=1500)
    with pytest.raises(SpoolFull):
        for first in range(100):
            writer.append(metrics(first))
    writer.seal()
    kept = sum(segment.stat().st_size for segment in segments_of(writer.directory))
    assert 0 < kept <= 1500


def test_a_living_writers_folder_is_left_to_it(tmp_path):
    writer = writer_in(tmp_path)
    writer.append(metrics(0))
    writer.seal()
    assert Claim.acquire(writer.directory) is None
    writer.close()
    assert Claim.acquire(writer.directory) is not None


def test_two_replays_exclude_each_other(tmp_path):
    writer = writer_in(tmp_path)
    writer.append(metrics(0))
    writer.close()
    with claimed(writer.directory):
        assert Claim.acquire(writer.directory) is None
    assert Claim.acquire(writer.directory) is not None


def test_an_empty_folder_does_not_stay(tmp_path):
    writer = writer_in(tmp_path)
    root = server_dir(tmp_path, "server")
    assert writer_dirs(root) == [writer.directory]
    writer.close()
    assert writer_dirs(root) == []
