"""The blocking client against real gRPC."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from runstream.query.client import Client
from runstream.query.client_calls import NotCaughtUp
from runstream.query.results import Position, RunTable
from runstream.tracking import fluent
from runstream_common.errors import InvalidArgument, NotFound, Unavailable
from runstream_proto.metadata.v1 import metric_service_pb2 as metric_pb
from runstream_proto.metadata.v1 import run_service_pb2 as run_pb

RUN = f"{1:032x}"


def test_reads_a_run_with_typed_values(client):
    run = client.get_run(RUN)
    assert run.run_name == "run-1"
    assert run.status == "FINISHED"
    assert run.start_time == datetime(2023, 11, 14, 22, 13, 20, 1000, tzinfo=UTC)
    assert run.duration_seconds == 60.0
    assert run.metrics == {"loss": 0.5}
    assert run.params == {"lr": "1", "depth": "3"}
    assert client.latest_metrics(RUN)["loss"].step == 9


def test_an_unknown_run_is_not_found_with_its_reason(client):
    with pytest.raises(NotFound) as caught:
        client.get_run("f" * 32)
    assert caught.value.reason == "RUN_NOT_FOUND"


def test_a_search_reads_pages_as_they_are_needed(client, deployment):
    """C1: listings go by keyset pages, never by one answer that holds everything."""
    found = client.search_runs("digits", page_size=2)
    first = next(found)
    asked = [r for r in deployment.store.asked if isinstance(r, run_pb.SearchRunsRequest)]
    assert (first.run_id, len(asked)) == (f"{0:032x}", 1)
    assert [run.run_name for run in found] == ["run-1", "run-2"]


def test_a_table_stops_at_its_limit(client):
    assert [run.run_name for run in client.run_table("1", limit=2)] == ["run-0", "run-1"]


def test_a_search_names_the_experiment_that_is_missing(client):
    with pytest.raises(NotFound, match="nowhere"):
        list(client.search_runs(["digits", "nowhere"]))


def test_a_bad_filter_is_refused_with_its_place(client):
    with pytest.raises(InvalidArgument) as caught:
        list(client.search_runs("digits", "metrics.loss ~ 1"))
    assert caught.value.metadata["position"] == "13"


def test_words_outside_the_vocabulary_are_refused_before_sending(client, deployment):
    with pytest.raises(InvalidArgument, match="active, deleted, all"):
        list(client.search_runs("1", view="everything"))
    with pytest.raises(InvalidArgument, match="lttb"):
        client.sampled_histories([RUN], ["loss"], sampling="every_other")
    assert deployment.store.asked == []


def test_experiments_are_found_by_id_and_by_name(client):
    assert client.get_experiment("1").name == "digits"
    assert client.get_experiment("digits").experiment_id == "1"
    assert client.create_experiment("2024", tags={"a": "b"}).tags == {"a": "b"}
    assert client.get_experiment("2024").experiment_id == "2"
    assert [e.name for e in client.search_experiments()] == ["Default", "digits", "2024"]
    with pytest.raises(NotFound, match="77"):
        client.get_experiment("77")


def test_runs_are_deleted_and_restored(client):
    client.delete_run(RUN)
    assert client.get_run(RUN).lifecycle_stage == "deleted"
    client.restore_run(RUN)
    assert client.get_run(RUN).lifecycle_stage == "active"


def test_a_history_comes_whole_and_in_numpy(client, deployment):
    steps, times, values = deployment.store.add_history(RUN, "loss", 2500)
    history = client.metric_history(RUN, "loss")
    assert np.array_equal(history.steps, steps)
    assert np.array_equal(history.timestamps_ms, times)
    assert np.array_equal(history.values, values)
    history.values[0] = 3.0  # the caller's own memory
    assert len(client.metric_history(RUN, "accuracy")) == 0


def test_several_histories_are_told_apart(client, deployment):
    for key in ("loss", "accuracy"):
        deployment.store.add_history(RUN, key, 1500)
    histories = client.metric_histories([RUN])
    assert {names: len(history) for names, history in histories.items()} == {
        (RUN, "loss"): 1500,
        (RUN, "accuracy"): 1500,
    }
    assert [len(part) for part in client.iter_metric_histories([RUN], ["loss"])] == [1000, 500]


def test_a_chart_is_sampled_in_the_store(client, deployment):
    """C2: a chart costs its points, not the history's."""
    deployment.store.add_history(RUN, "loss", 5000)
    (sampled,) = client.sampled_histories([RUN], ["loss"], max_points=50)
    assert (len(sampled), sampled.total_point_count) == (50, 5000)
    assert np.array_equal(sampled.min_values, sampled.values)


def test_a_read_waits_for_given_positions(client, deployment):
    client.get_run(RUN, wait_for=[Position("run-logged", 2, 41)], wait_seconds=1.5)
    (asked,) = deployment.store.asked
    assert [(p.topic, p.partition, p.offset) for p in asked.wait_for] == [("run-logged", 2, 41)]
    assert asked.wait_timeout_ms == 1500


def test_a_read_that_is_not_caught_up_says_so(client, deployment):
    """B6: an answer that lacks what was written is never passed off as complete."""
    deployment.store.caught_up = False
    position = [Position("run-logged", 0, 1)]
    with pytest.raises(NotCaughtUp, match="not yet queryable"):
        client.get_run(RUN, wait_for=position)
    with pytest.raises(NotCaughtUp):
        client.metric_history(RUN, "loss", wait_for=position)
    assert client.get_run(RUN).run_id == RUN


def test_a_writer_can_be_waited_for(client, deployment):
    class Writer:
        def positions(self):
            return [Position("run-logged", 0, 5)]

    client.list_metrics([RUN], wait_for=Writer())
    (asked,) = deployment.store.asked
    assert isinstance(asked, metric_pb.ListMetricsRequest)
    assert asked.wait_for[0].offset == 5


def test_a_process_that_logs_reads_its_own_writes(deployment, monkeypatch):
    """Promise 2: whoever wrote and then reads through the same door sees the write."""
    written = [Position("run-logged", 0, 7)]
    monkeypatch.setattr(fluent, "server_target", lambda: deployment.url)
    monkeypatch.setattr(fluent, "written_positions", lambda: written)
    with Client() as client:
        client.get_run(RUN)
    with Client(deployment.url.replace("127.0.0.1", "localhost")) as elsewhere:
        elsewhere.get_run(RUN)
    asked = [[position.offset for position in request.wait_for] for request in deployment.store.asked]
    assert asked == [[7], []]


def test_leaving_a_watch_frees_the_server(client, deployment):
    deployment.store.runs[RUN].ClearField("end_time_ms")
    watch = client.watch_run(RUN)
    assert next(watch).run_id == RUN
    assert not deployment.store.left.is_set()
    watch.close()
    assert deployment.store.left.wait(10)


def test_a_watch_ends_with_the_run(client):
    assert [run.status for run in client.watch_run(RUN)] == ["FINISHED"]


def test_followed_points_arrive_as_columns(client, deployment):
    deployment.store.add_history(RUN, "loss", 1200)
    parts = list(client.watch_metrics([RUN], ["loss"], backlog_points=10))
    assert [len(part) for part in parts] == [1000, 200]


def test_an_unreachable_address_is_unavailable():
    with Client("127.0.0.1:1", timeout_seconds=5) as client, pytest.raises(Unavailable):
        client.get_run(RUN)


def test_runs_are_compared_key_by_key(client, deployment):
    comparison = client.compare_runs([f"{0:032x}", RUN])
    rows = {(row.kind, row.key): row for row in comparison.rows()}
    assert rows["param", "lr"].values == ("0", "1")
    assert rows["param", "lr"].differs
    assert not rows["param", "depth"].differs
    assert [row.key for row in comparison.rows(only_different=True)] == ["lr", "loss"]
    with pytest.raises(NotFound, match="f" * 32):
        client.compare_runs([RUN, "f" * 32])


def test_tables_of_runs_go_to_pandas_and_arrow(client):
    table = RunTable(client.search_runs("1"))
    frame = table.to_pandas()
    assert list(frame["metrics.loss"]) == [1.0, 0.5, pytest.approx(1 / 3)]
    assert table.to_arrow().column("params.lr").to_pylist() == ["0", "1", "2"]
    assert str(table.to_arrow().schema.field("start_time").type) == "timestamp[ms, tz=UTC]"
