"""From a call to the server: streaming, outages in every phase, refusals. Every point is accounted for (B7)."""

import threading

import numpy as np
import pytest
from runstream.tracking.replay import read_rejected
from runstream.tracking.sender import FlushResult
from runstream.tracking.session import Session
from runstream.tracking.settings import Settings
from runstream.tracking.spool import writer_dirs
from runstream_common.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from runstream_contract.limits import MAX_POINTS_PER_BATCH

from tests.support.fake_server import FakeServer


def accounted(result: FlushResult) -> int:
    return (
        result.acknowledged_points
        + result.pending_points
        + result.spooled_points
        + result.rejected_points
        + result.dropped_points
    )


def test_a_run_arrives_whole(session: Session, server: FakeServer):
    with session.start_run(experiment="digits", run_name="first", tags={"who": "me"}) as run:
        for step in range(500):
            run.log_metric("loss", step / 2, step)
        run.log_metrics({"accuracy": 0.5, "f1": 0.25}, step=7, timestamp_ms=12)
        run.log_params({"rate": 0.1, "depth": 3})
        run.set_tag("stage", "test")
        run.log_input("digits", "abc", source={"uri": "s3://x"}, context="training")
    stored = server.only_run()
    assert stored.values("loss") == [step / 2 for step in range(500)]
    assert ("accuracy", 7, 12, 0.5) in stored.points
    assert stored.params == {"rate": "0.1", "depth": "3"}
    assert stored.tags["who"] == "me"
    assert stored.tags["stage"] == "test"
    (link,) = stored.inputs
    assert (link.dataset.source, link.tags[0].key) == ('{"uri": "s3://x"}', "mlflow.data.context")
    assert (stored.status_name, stored.status_reason) == ("FINISHED", "")
    assert stored.end_time_ms >= stored.request.start_time_ms > 0
    assert server.experiments["digits"] == stored.request.experiment_id
    assert run.name == "first"


def test_flush_says_what_became_of_the_points_and_where_they_lie(session: Session):
    """B7, and read your writes by bus position."""
    run = session.start_run()
    for step in range(100):
        run.log_metric("loss", 1.0, step)
    result = run.flush()
    assert (result.acknowledged_points, result.complete) == (100, True)
    assert [(p.topic, p.partition) for p in result.positions] == [("run-logged", 0)]
    assert session.sender.positions() == list(run.positions())


def test_a_series_longer_than_a_message_keeps_its_order(session: Session, server: FakeServer):
    size = MAX_POINTS_PER_BATCH // 4
    with session.start_run() as run:
        run.log_series("wave", np.arange(size), timestamps_ms=5)
        run.log_series("wave", [1.5, 2.5])
        run.log_series("own", [1, 2, 3], steps=[10, 20, 30], timestamps_ms=[7, 8, 9])
    stored = server.only_run()
    wave = sorted(point for point in stored.points if point[0] == "wave")
    assert [point[1] for point in wave] == list(range(size + 2))
    assert [point[3] for point in wave[-3:]] == [size - 1, 1.5, 2.5]
    assert sorted(p for p in stored.points if p[0] == "own") == [
        ("own", 10, 7, 1.0),
        ("own", 20, 8, 2.0),
        ("own", 30, 9, 3.0),
    ]
    assert len(server.batch_ids) > 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"values": [[1.0]]}, "values"),
        ({"values": ["high"]}, "values"),
        ({"values": [1.0], "steps": [1, 2]}, "steps"),
        ({"values": [1.0], "steps": [1.5]}, "steps"),
        ({"values": [1.0, 2.0], "timestamps_ms": [1, -1]}, "timestamps_ms[1]"),
    ],
)
def test_a_wrong_series_is_named_and_not_sent(session: Session, arguments, field):
    run = session.start_run()
    with pytest.raises(InvalidArgument) as refused:
        run.log_series("loss", **arguments)
    assert refused.value.violations[0].field == field
    assert accounted(run.flush()) == 0


def test_eight_threads_log_and_every_point_arrives_once(session: Session, server: FakeServer):
    """B7."""
    threads, points = 8, 2000
    run = session.start_run()

    def work(worker: int) -> None:
        for step in range(points):
            run.log_metric(f"worker/{worker % 3}", float(worker), step, worker)

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    result = run.end()
    assert (result.acknowledged_points, result.complete) == (threads * points, True)
    assert len(server.only_run().points) == threads * points
    assert set(server.only_run().points.values()) == {1}


def test_a_server_that_goes_away_in_mid_run_loses_nothing(session: Session, server: FakeServer):
    """B7: metrics, params, tags and the end wait in order, and all arrive when the server is back."""
    run = session.start_run()
    for step in range(100):
        run.log_metric("loss", 1.0, step)
    run.flush()
    server.stop()
    for step in range(100, 300):
        run.log_metric("loss", 1.0, step)
    away = run.flush()
    run.log_param("late", 1)
    assert (away.acknowledged_points, away.spooled_points, away.complete) == (100, 200, False)
    server.start()
    run.set_tag("back", "yes")
    result = run.end()
    assert (result.acknowledged_points, result.complete) == (300, True)
    stored = server.only_run()
    assert [p[1] for p in sorted(stored.points)] == list(range(300))
    assert (stored.params["late"], stored.tags["back"], stored.status_name) == ("1", "yes", "FINISHED")
    assert server.calls[-1] == "update:FINISHED"


def test_after_an_outage_points_go_straight_again(session: Session, server: FakeServer):
    run = session.start_run()
    server.stop()
    run.log_metric("loss", 1.0)
    assert run.flush().spooled_points == 1
    server.start()
    server.wait_until(lambda: len(server.only_run().points) == 1)
    assert run.flush().complete
    assert writer_dirs(session.settings.spool_dir / server.url.replace(":", "_")) == []


def test_a_run_that_starts_offline_is_created_first_when_the_server_comes(
    settings: Settings, server: FakeServer
):
    server.stop()
    session = Session(server.url, settings)
    run = session.start_run(experiment="offline", run_name="night")
    run.log_param("rate", 1)
    for step in range(50):
        run.log_metric("loss", 1.0, step)
    assert run.flush().spooled_points == 50
    run.log_metric("loss", 2.0, 50)
    server.start()
    assert run.end().complete
    session.close()
    assert server.calls[0] == "create"
    assert server.calls[-1] == "update:FINISHED"
    assert server.only_run().request.run_id == run.run_id
    assert server.only_run().request.run_name == "night"
    assert len(server.only_run().points) == 51


def test_what_a_dead_process_left_is_sent_by_the_next_one(settings: Settings, server: FakeServer):
    server.stop()
    first = Session(server.url, settings)
    run = first.start_run(experiment="offline")
    run.log_metric("loss", 1.0)
    run.end(timeout_seconds=0.1)
    first.close()
    server.start()
    second = Session(server.url, settings)
    other = second.start_run()
    server.wait_until(lambda: server.calls.count("update:FINISHED") == 1)
    other.end()
    second.close()
    assert server.runs[run.run_id].status_name == "FINISHED"
    assert server.runs[run.run_id].values("loss") == [1.0]


def test_a_broken_stream_resends_with_the_same_batch_ids(session: Session, server: FakeServer):
    """An acknowledgement that got lost makes a repeat, and the repeat changes nothing."""
    run = session.start_run()
    server.withhold_acks = True
    for step in range(20):
        run.log_metric("loss", 1.0, step)
    server.wait_until(lambda: len(server.only_run().points) == 20)
    server.stop()
    server.withhold_acks = False
    server.start()
    result = run.end()
    assert (result.acknowledged_points, result.complete) == (20, True)
    assert max(server.batch_ids.values()) == 2
    assert set(server.only_run().points.values()) == {1}


def test_a_refusal_that_may_pass_is_repeated(session: Session, server: FakeServer):
    """B5: the stream waits as long as the server asks, and sends the batch again."""
    server.stream_retry_delays_ms = [30, 10]
    run = session.start_run()
    run.log_metric("loss", 1.0, 0)
    result = run.flush()
    assert (result.acknowledged_points, result.complete) == (1, True)
    assert server.stream_retry_delays_ms == []
    assert run.end().complete


def test_a_server_that_keeps_refusing_fills_the_disk_and_not_memory(session: Session, server: FakeServer):
    """B5, B7."""
    run = session.start_run()
    server.failure = ResourceExhausted("full", retry_after_seconds=0.01)
    run.log_metric("loss", 1.0, 0)
    result = run.flush(timeout_seconds=20)
    assert (result.spooled_points, result.pending_points) == (1, 0)
    server.failure = None
    assert run.end().complete


def test_points_of_a_deleted_run_are_counted_kept_and_warned_of_once(
    session: Session, server: FakeServer, caplog
):
    """B7."""
    run = session.start_run()
    server.only_run().deleted = True
    for step in range(3):
        run.log_metric("loss", 1.0, step)
        run.flush()
    result = run.end()
    assert (result.rejected_points, result.acknowledged_points, result.complete) == (3, 0, False)
    kept = read_rejected(session.settings.spool_dir / server.url.replace(":", "_") / run.run_id)
    assert [(reason["reason"], points) for reason, _, points in kept] == [("RUN_NOT_ACTIVE", 1)] * 3
    warnings = [r.getMessage() for r in caplog.records if "refused METRICS for good" in r.getMessage()]
    assert len(warnings) == 1


def test_a_full_spool_drops_and_counts(settings: Settings, server: FakeServer, caplog):
    """B7: nothing is dropped silently."""
    bounded = Settings(
        spool_dir=settings.spool_dir,
        spool_max_bytes=4000,
        flush_interval_ms=5,
        capture=False,
        system_metrics=False,
    )
    session = Session(server.url, bounded)
    run = session.start_run()
    server.stop()
    run.log_series("loss", np.zeros(100))
    run.flush()
    run.log_series("loss", np.zeros(1000))
    result = run.flush()
    assert (result.spooled_points, result.dropped_points) == (100, 1000)
    assert accounted(result) == 1100
    assert [r for r in caplog.records if "was lost" in r.getMessage()]
    server.start()
    assert not run.end().complete
    session.close()
    assert len(server.only_run().points) == 100


def test_a_slow_server_does_not_slow_logging_and_memory_is_bounded(settings: Settings, server: FakeServer):
    """Beyond the bound of memory, batches wait on disk."""
    bounded = Settings(
        spool_dir=settings.spool_dir,
        memory_max_bytes=3000,
        flush_interval_ms=5,
        capture=False,
        system_metrics=False,
    )
    session = Session(server.url, bounded)
    run = session.start_run()
    server.withhold_acks = True
    for _ in range(10):
        run.log_series("loss", np.zeros(40))
    waiting = run.flush(timeout_seconds=0.5)
    assert waiting.pending_points <= 3000 // 24
    server.withhold_acks = False
    server.stop()
    server.start()
    assert run.end().acknowledged_points == 400
    session.close()
    assert [p[1] for p in sorted(server.only_run().points)] == list(range(400))


def test_a_param_that_is_set_is_refused_at_once(session: Session):
    run = session.start_run()
    run.log_param("rate", 1)
    with pytest.raises(InvalidArgument, match="is set") as refused:
        run.log_param("rate", 2)
    assert refused.value.reason == "PARAM_IMMUTABLE"


def test_a_refused_creation_leaves_no_run(session: Session, server: FakeServer):
    server.failure = FailedPrecondition("the experiment is deleted", reason="EXPERIMENT_DELETED")
    with pytest.raises(FailedPrecondition):
        session.start_run(experiment="gone")
    server.failure = None
    assert session.open_runs() == []


def test_many_params_are_sent_in_parts(session: Session, server: FakeServer):
    run = session.start_run()
    run.log_params({f"param{i}": i for i in range(250)})
    assert len(server.only_run().params) == 250
    assert server.calls.count("batch") == 3


def test_leases_are_renewed_while_a_run_is_open(settings: Settings, server: FakeServer):
    """A4."""
    session = Session(server.url, settings)
    run = session.start_run()
    assert server.only_run().request.lease_ms == 60_000
    session._heartbeat.beat()
    assert server.only_run().heartbeats == 1
    run.end()
    session._heartbeat.beat()
    assert server.only_run().heartbeats == 1
    session.close()


def test_a_heartbeat_survives_an_outage(session: Session, server: FakeServer):
    """A4."""
    session.start_run()
    server.failure = Unavailable("away")
    session._heartbeat.beat()
    server.failure = None
    session._heartbeat.beat()
    assert server.only_run().heartbeats == 1


def test_a_run_is_continued_by_its_id(session: Session, server: FakeServer):
    first = session.start_run()
    first.log_metric("loss", 1.0, 0)
    first.end("FAILED", reason="power cut")
    again = session.start_run(run_id=first.run_id)
    assert server.only_run().status_name == "RUNNING"
    again.log_metric("loss", 1.0, 1)
    again.end()
    assert len(server.only_run().points) == 2
    assert server.only_run().status_name == "FINISHED"


def test_an_attached_run_is_logged_to_and_not_ended(session: Session, settings: Settings, server: FakeServer):
    run = session.start_run()
    worker = Session(server.url, settings)
    attached = worker.attach_run(run.run_id)
    attached.log_metric("loss", 1.0, 0)
    attached.end()
    worker.close()
    assert server.only_run().values("loss") == [1.0]
    assert server.only_run().status_name == "RUNNING"
