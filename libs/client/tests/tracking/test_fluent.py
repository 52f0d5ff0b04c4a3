"""The functions of the package: which run is active, and what is refused."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import runstream
from runstream_common.errors import FailedPrecondition, InvalidArgument

from tests.support.fake_server import FakeServer


def test_every_function_reaches_the_active_run(runstream_here: FakeServer):
    with runstream.start_run("digits", "first", tags={"a": 1}) as run:
        runstream.log_metric("loss", 1.0, 0)
        runstream.log_metrics({"f1": 0.5}, 1)
        runstream.log_series("wave", [1, 2, 3])
        runstream.log_param("rate", 0.1)
        runstream.log_params({"depth": 2})
        runstream.set_tag("b", 2)
        runstream.set_tags({"c": 3})
        runstream.log_input("digits", "abc")
        assert runstream.flush().acknowledged_points == 5
        assert runstream.active_run() is run
    stored = runstream_here.only_run()
    assert len(stored.points) == 5
    assert stored.params == {"rate": "0.1", "depth": "2"}
    assert {key: stored.tags[key] for key in "abc"} == {"a": "1", "b": "2", "c": "3"}
    assert len(stored.inputs) == 1
    assert runstream.active_run() is None


def test_without_a_run_logging_says_what_to_do(runstream_here: FakeServer):
    with pytest.raises(FailedPrecondition, match="start_run"):
        runstream.log_metric("loss", 1.0)
    assert runstream.end_run() is None


def test_a_second_run_must_be_nested_or_come_later(runstream_here: FakeServer):
    with runstream.start_run("digits") as outer:
        with pytest.raises(FailedPrecondition, match="nested=True"):
            runstream.start_run()
        with runstream.start_run(nested=True, run_name="inner") as inner:
            runstream.log_metric("loss", 1.0, 0)
        assert runstream.active_run() is outer
    with runstream.start_run("digits", "later"):
        pass
    stored = runstream_here.runs
    assert stored[inner.run_id].request.parent_run_id == outer.run_id
    assert stored[inner.run_id].request.experiment_id == stored[outer.run_id].request.experiment_id
    assert len(stored[inner.run_id].points) == 1
    assert len(stored) == 3


def test_a_thread_without_a_run_logs_to_the_one_started_last(runstream_here: FakeServer):
    with runstream.start_run() as run:
        worker = threading.Thread(target=runstream.log_metric, args=("loss", 1.0, 0))
        worker.start()
        worker.join()
        assert run.flush().acknowledged_points == 1


def test_threads_with_runs_of_their_own_do_not_meet(runstream_here: FakeServer):
    barrier = threading.Barrier(4)

    def work(worker: int) -> str:
        with runstream.start_run(run_name=f"job-{worker}") as run:
            barrier.wait(20)
            for step in range(100):
                runstream.log_metric("worker", float(worker), step)
            barrier.wait(20)
        return run.run_id

    with ThreadPoolExecutor(4) as pool:
        run_ids = list(pool.map(work, range(4)))
    for worker, run_id in enumerate(run_ids):
        assert runstream_here.runs[run_id].values("worker") == [float(worker)] * 100


def test_an_ended_run_is_not_logged_to(runstream_here: FakeServer):
    run = runstream.start_run()
    runstream.end_run("FAILED", reason="no data")
    assert (runstream_here.only_run().status_name, runstream_here.only_run().status_reason) == (
        "FAILED",
        "no data",
    )
    with pytest.raises(FailedPrecondition, match="has ended"):
        run.log_metric("loss", 1.0)
    with pytest.raises(FailedPrecondition, match="has ended"):
        run.log_series("loss", [1.0])
    with pytest.raises(FailedPrecondition, match="has ended"):
        run.set_tag("late", 1)
    assert run.end().complete


def test_init_does_not_pull_the_server_from_under_a_run(runstream_here: FakeServer):
    with runstream.start_run(), pytest.raises(FailedPrecondition, match="end the open runs"):
        runstream.init("localhost:1")


def test_init_refuses_what_is_no_address(runstream_here: FakeServer):
    with pytest.raises(InvalidArgument, match="url"):
        runstream.init("localhost:http")


def test_params_and_tags_are_checked_before_they_are_sent(runstream_here: FakeServer):
    with runstream.start_run():
        with pytest.raises(InvalidArgument, match="params"):
            runstream.log_params({"good": 1, "../bad": 2})
        with pytest.raises(InvalidArgument, match="tags"):
            runstream.set_tag("", 1)
    assert runstream_here.only_run().params == {}


def test_the_experiment_may_come_from_the_environment(runstream_here: FakeServer, settings, monkeypatch):
    monkeypatch.setenv("RUNSTREAM_EXPERIMENT", "from-environment")
    runstream.init(runstream_here.url, spool_dir=settings.spool_dir, system_metrics=False, capture=False)
    with runstream.start_run():
        pass
    assert runstream_here.experiments["from-environment"] == runstream_here.only_run().request.experiment_id
