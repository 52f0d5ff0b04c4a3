"""Metrics, events, dead letters, exports, spool and doctor on the command line."""

from __future__ import annotations

import json
import socket

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from runstream.cli import doctor_checks, output
from runstream.cli.app import app
from runstream.cli.operations import ServiceState
from runstream_proto.common.v1 import operations_service_pb2 as pb
from typer.testing import CliRunner

RUN, OTHER = f"{1:032x}", f"{2:032x}"


@pytest.fixture
def cli(deployment, monkeypatch, tmp_path):
    """Runs a command against the deployment, with a spool directory of its own."""
    monkeypatch.setenv("RUNSTREAM_URL", deployment.url)
    monkeypatch.setenv("RUNSTREAM_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, list(words))


def json_of(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def json_lines_of(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_metrics_are_listed_and_shown(cli, deployment):
    deployment.store.add_history(RUN, "loss", 2500)
    result = cli("metrics", "show", RUN)
    assert "2,500" in result.stdout
    assert "0 to 2499" in result.stdout
    (metric,) = json_of(cli("metrics", "show", RUN, "--json"))["metrics"]
    assert (metric["key"], metric["point_count"]) == ("loss", 2500)
    points = cli("metrics", "show", RUN, "loss", "--limit", "3")
    assert len(points.stdout.splitlines()) == 4
    assert "first 3 of 2,500" in points.stderr
    assert json_of(cli("metrics", "show", RUN, "loss", "--json"))["values"][0] == 1.0


def test_a_metric_that_is_not_there_names_those_that_are(cli, deployment):
    deployment.store.add_history(RUN, "loss", 5)
    result = cli("metrics", "show", RUN, "acc")
    assert result.exit_code == output.EXIT_NOT_FOUND
    assert "it has: loss" in result.stderr
    assert cli("metrics", "show", "f" * 32).exit_code == output.EXIT_NOT_FOUND


def test_metrics_are_drawn_in_the_terminal(cli, deployment):
    for run in (RUN, OTHER):
        deployment.store.add_history(run, "loss", 500)
    result = cli("metrics", "plot", RUN, OTHER, "--width", "80")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].strip() == "loss"
    assert "● run-1" in result.stdout
    assert "x run-2" in result.stdout
    assert "\x1b" not in result.stdout  # no terminal, no escapes
    assert max(len(line) for line in lines) <= 80


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_metrics_are_saved_as_an_image(cli, deployment, tmp_path, suffix, magic):
    deployment.store.add_history(RUN, "loss", 500)
    target = tmp_path / f"loss.{suffix}"
    assert cli("metrics", "plot", RUN, "-k", "loss", "--save", str(target)).exit_code == 0
    assert target.read_bytes().startswith(magic)


def test_an_image_of_no_known_kind_is_refused(cli, deployment, tmp_path):
    deployment.store.add_history(RUN, "loss", 5)
    assert cli("metrics", "plot", RUN, "--save", str(tmp_path / "x.docx")).exit_code == output.EXIT_USAGE


def test_the_last_points_are_printed(cli, deployment):
    _, times, values = deployment.store.add_history(RUN, "loss", 2500)
    lines = json_lines_of(cli("metrics", "tail", RUN, "-n", "2", "--json"))
    assert [(line["step"], line["timestamp_ms"], line["value"]) for line in lines] == [
        (step, times[step], values[step]) for step in (2498, 2499)
    ]
    assert cli("metrics", "tail", RUN, "-n", "1").stdout.endswith(f"loss  step 2499  {values[-1]:.6g}\n")


def test_followed_points_end_with_the_runs(cli, deployment):
    deployment.store.add_history(RUN, "loss", 7)
    lines = json_lines_of(cli("metrics", "tail", RUN, "--follow", "--json"))
    assert [line["step"] for line in lines] == list(range(7))


def test_events_are_followed(cli, deployment, event):
    deployment.store.events = [event, event]
    (line,) = json_lines_of(cli("events", "tail", "run-changed", "--limit", "1", "--json"))
    assert (line["offset"], line["value"]) == (4, {"change": "RUN_CHANGE_CREATED"})
    assert cli("events", "tail", "run-changed").stdout.count("RunChanged") == 2


@pytest.fixture
def letters(deployment):
    deployment.store.dead_letters = [
        pb.DeadLetter(
            id=f"0:{number}",
            topic="run-logged",
            group="metadata",
            key=RUN,
            reason="RUN_NOT_FOUND",
            detail="create the run first",
            headers={"content-type": "application/json"},
            value=b'{"key": "loss"}',
        )
        for number in range(3)
    ]
    return deployment.store


def test_dead_letters_are_listed_and_shown(cli, letters):
    result = cli("dead-letter", "list")
    assert result.stdout.count("RUN_NOT_FOUND") == 3
    assert (
        json_of(cli("dead-letter", "list", "--json"))["dead_letters"][0]["detail"] == "create the run first"
    )
    shown = cli("dead-letter", "show", "0:1").stdout
    assert '{"key": "loss"}' in shown
    assert "application/json" in shown
    assert cli("dead-letter", "show", "9:9").exit_code == output.EXIT_NOT_FOUND


def test_dead_letters_are_discarded_only_when_named_or_all(cli, letters):
    assert cli("dead-letter", "discard").exit_code == output.EXIT_USAGE
    assert json_of(cli("dead-letter", "discard", "0:1", "--json")) == {"discarded_count": 1}
    assert "discarded 2 messages" in cli("dead-letter", "discard", "--all").stdout


def test_dead_letters_are_replayed_only_when_named_or_all(cli, letters):
    """B1: what could not be applied is kept, and can be applied later."""
    assert cli("dead-letter", "replay").exit_code == output.EXIT_USAGE
    assert json_of(cli("dead-letter", "replay", "0:1", "--json")) == {"replayed_count": 1}
    assert [letter.id for letter in letters.dead_letters] == ["0:0", "0:2"]
    assert "replayed 2 messages" in cli("dead-letter", "replay", "--all").stdout


def test_metrics_are_exported_whole(cli, deployment, tmp_path):
    columns = {}
    for run in (RUN, OTHER):
        columns[run] = deployment.store.add_history(run, "loss", 2500)
    target = tmp_path / "metrics.parquet"
    told = json_of(cli("export", "metrics", str(target), "-e", "digits", "--json"))
    assert told["point_count"] == 5000
    table = pyarrow.parquet.read_table(target)
    assert table.schema.field("timestamp").type == pyarrow.timestamp("ms", tz="UTC")
    of_run = table.filter(pyarrow.compute.equal(table["run_id"], RUN))
    assert np.array_equal(of_run["value"].to_numpy(), columns[RUN][2])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["metrics.parquet"]


def test_metrics_are_exported_as_csv(cli, deployment, tmp_path):
    _, _, values = deployment.store.add_history(RUN, "loss", 1200)
    target = tmp_path / "metrics.csv"
    assert "wrote 1,200 points" in cli("export", "metrics", str(target), "-r", RUN).stdout
    assert np.array_equal(pyarrow.csv.read_csv(target)["value"].to_numpy(), values)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_runs_are_exported(cli, tmp_path, suffix):
    target = tmp_path / f"runs.{suffix}"
    assert json_of(cli("export", "runs", str(target), "--json"))["run_count"] == 3
    read = pyarrow.parquet.read_table if suffix == "parquet" else pyarrow.csv.read_csv
    row = read(target).to_pylist()[1]
    assert row["run_name"] == "run-1"
    params = json.loads(row["params"]) if suffix == "csv" else dict(row["params"])
    assert params == {"lr": "1", "depth": "3"}


def test_a_failed_export_leaves_the_old_file(cli, tmp_path):
    target = tmp_path / "runs.csv"
    target.write_text("old")
    assert (
        cli("export", "runs", str(target), "-e", "digits", "--filter", "a ~ b").exit_code == output.EXIT_USAGE
    )
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    assert cli("export", "runs", str(tmp_path / "runs.xlsx")).exit_code == output.EXIT_USAGE
    assert cli("export", "metrics", str(target), "-r", "f" * 32).exit_code == output.EXIT_NOT_FOUND


def test_an_empty_spool_is_said_to_be_empty(cli, tmp_path):
    assert json_of(cli("spool", "status", "--json"))["waiting"] == []
    assert json_of(cli("spool", "flush", "--json"))["sent_points"] == 0


def test_doctor_of_a_healthy_deployment(cli, deployment):
    deployment.store.status.version = "0.1.0"
    shape = json_of(cli("doctor", "--json"))
    assert shape["healthy"] is True
    levels = {finding["check"]: finding["level"] for finding in shape["findings"]}
    assert (
        levels["address"] == levels["discovery"] == levels["service metadata"] == levels["versions"] == "ok"
    )
    assert "nothing is wrong" in cli("doctor").stdout


def test_doctor_says_what_is_wrong_and_how_to_mend_it(cli, deployment):
    status = deployment.store.status
    status.version = "9.9.9"
    status.server_time_ms = 1_000
    status.subscriptions[0].state = pb.SUBSCRIPTION_STATE_STOPPED
    status.subscriptions[0].reason = "too many poison messages"
    status.subscriptions[0].dead_letter_count = 12
    result = cli("doctor", "--json")
    assert result.exit_code == output.EXIT_PROBLEM
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}
    for check, level, text in (
        ("versions", "warning", "9.9.9"),
        ("clocks", "warning", "behind"),
        ("lag run-logged.metadata", "problem", "too many poison messages"),
        ("dead letters run-logged.metadata", "warning", "12 messages"),
    ):
        assert findings[check]["level"] == level
        assert text in findings[check]["detail"]
        assert findings[check]["mend"]


def test_doctor_without_a_server(cli):
    result = cli("doctor", "--url", "127.0.0.1:1")
    assert result.exit_code == output.EXIT_PROBLEM
    assert "nothing answers at 127.0.0.1:1" in result.stdout
    assert "runstream up" in result.stdout


def test_doctor_tells_another_program_on_the_port(cli):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = cli("doctor", "--url", f"127.0.0.1:{port}")
    assert result.exit_code == output.EXIT_PROBLEM
    assert f"sport = :{port}" in result.stdout


def test_doctor_reports_lag_by_age():
    item = pb.SubscriptionStatus(topic="t", group="g", state=pb.SUBSCRIPTION_STATE_RUNNING, lag_messages=5)
    item.watermarks.add(applied_time_ms=1_000_000)
    state = ServiceState(
        "metadata", "x:1", serving=True, status=pb.GetStatusResponse(subscriptions=[item]), error=""
    )
    levels = [[f.level for f in doctor_checks.check_subscriptions([state], now)] for now in (1005.0, 1060.0)]
    assert levels == [["ok"], ["warning"]]
