"""The command line against a deployment: what it prints, its JSON and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from runstream.cli import output
from runstream.cli.app import COMMANDS, app
from typer.testing import CliRunner

RUN = f"{1:032x}"


@pytest.fixture
def cli(deployment, monkeypatch):
    """Runs a command against the deployment; returns the result with stdout, stderr and exit code."""
    monkeypatch.setenv("RUNSTREAM_URL", deployment.url)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, list(words))


def json_of(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_runs_are_listed_as_a_table_and_as_json(cli):
    result = cli("runs", "list", "-e", "digits")
    assert result.exit_code == 0
    for text in ("run-0", "run-2", "FINISHED", "metrics.loss", "0.333333", "params.lr"):
        assert text in result.stdout
    assert "params.depth" not in result.stdout  # the same in all
    runs = json_of(cli("runs", "list", "--limit", "2", "--json"))["runs"]
    assert [run["run_name"] for run in runs] == ["run-0", "run-1"]
    assert runs[0]["start_time"] == "2023-11-14T22:13:20.000Z"
    assert runs[0]["metrics"]["loss"] == {"value": 1.0, "step": 9, "timestamp": "2023-11-14T22:13:20.009Z"}


def test_columns_can_be_chosen(cli):
    result = cli("runs", "list", "-c", "run_name", "-c", "tags.team", "-c", "params.depth")
    assert result.stdout.split()[:6] == ["run_name", "tags.team", "params.depth", "run-0", "vision", "3"]
    assert cli("runs", "list", "-c", "colour").exit_code == output.EXIT_USAGE


def test_a_run_is_shown_whole(cli):
    result = cli("runs", "show", RUN)
    for text in (RUN, "FINISHED", "1 min 00 s", "lr", "loss", "team"):
        assert text in result.stdout
    assert json_of(cli("runs", "show", RUN, "--json"))["run"]["params"] == {"lr": "1", "depth": "3"}


def test_logged_models_of_a_run_are_shown(cli, deployment):
    run = deployment.store.runs[RUN]
    run.model_input_ids.append("m-used")
    run.model_outputs.add(model_id="m-made", step=7)

    shown = cli("runs", "show", RUN).stdout
    assert all(text in shown for text in ("m-used", "m-made", "produced"))
    told = json_of(cli("runs", "show", RUN, "--json"))["run"]
    assert told["model_inputs"] == ["m-used"]
    assert told["model_outputs"] == [{"model_id": "m-made", "step": 7}]


def test_runs_are_compared(cli):
    rows = json_of(cli("runs", "compare", f"{0:032x}", RUN, "--only-different", "--json"))["rows"]
    assert [(row["key"], row["values"]) for row in rows] == [("lr", ["0", "1"]), ("loss", [1.0, 0.5])]
    assert "depth" in cli("runs", "compare", f"{0:032x}", RUN).stdout


def test_runs_are_deleted_and_restored(cli, client):
    assert json_of(cli("runs", "delete", RUN, "--json")) == {"deleted": [RUN]}
    assert client.get_run(RUN).lifecycle_stage == "deleted"
    assert "restored 1 run" in cli("runs", "restore", RUN).stdout
    assert client.get_run(RUN).lifecycle_stage == "active"


def test_experiments_are_made_listed_deleted_and_restored(cli):
    made = json_of(cli("experiments", "create", "mnist", "-t", "team=vision", "--json"))["experiment"]
    assert (made["name"], made["tags"]) == ("mnist", {"team": "vision"})
    assert "mnist" in cli("experiments", "list").stdout
    deleted = json_of(cli("experiments", "delete", "mnist", "--json"))["experiment"]
    assert deleted["lifecycle_stage"] == "deleted"
    assert "restored experiment" in cli("experiments", "restore", "mnist").stdout
    assert cli("experiments", "create", "x", "-t", "no-value").exit_code == output.EXIT_USAGE


def test_an_unknown_run_is_one_line_and_its_own_exit_code(cli):
    result = cli("runs", "show", "f" * 32)
    assert result.exit_code == output.EXIT_NOT_FOUND
    assert result.stderr == f"error: no run {'f' * 32} (RUN_NOT_FOUND)\n"
    error = json.loads(cli("runs", "show", "f" * 32, "--json").stderr)["error"]
    assert error["reason"] == "RUN_NOT_FOUND"


def test_a_bad_filter_is_marked_where_it_is_wrong(cli):
    result = cli("runs", "list", "-e", "digits", "--filter", "metrics.loss ~ 1")
    assert result.exit_code == output.EXIT_USAGE
    assert result.stderr.splitlines()[1:] == ["  metrics.loss ~ 1", "  " + " " * 13 + "^"]


def test_an_unreachable_server_says_what_to_do(cli):
    result = cli("runs", "list", "--url", "127.0.0.1:1")
    assert result.exit_code == output.EXIT_UNREACHABLE
    assert result.stderr.count("\n") == 1
    assert "cannot reach 127.0.0.1:1" in result.stderr
    assert "runstream up" in result.stderr


def test_an_address_that_is_none_is_refused(cli):
    result = cli("runs", "list", "--url", "https://example.org/path")
    assert result.exit_code == output.EXIT_USAGE
    assert "host:port" in result.stderr


def test_status_tells_readiness_and_lag(cli, deployment):
    """B6: lag is visible to everyone."""
    subscription = deployment.store.status.subscriptions[0]
    subscription.lag_messages = 1234
    result = cli("status")
    assert result.exit_code == 0
    for text in ("metadata", "ingest", "run-logged", "1,234 messages", "running"):
        assert text in result.stdout
    shape = json_of(cli("status", "--json"))
    assert shape["ready"] is True
    assert shape["services"][1]["subscriptions"][0]["lag_messages"] == 1234


def test_status_of_a_service_that_is_not_ready_fails(cli, deployment):
    deployment.store.status.checks.add(name="bus", ok=False, detail="no broker answers")
    result = cli("status")
    assert result.exit_code == output.EXIT_PROBLEM
    assert "bus: no broker answers" in result.stdout
    assert json.loads(cli("status", "--json").stdout)["ready"] is False


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_help_loads_no_heavy_module():
    code = (
        "import sys; sys.argv = ['runstream', '--help']\n"
        "from runstream.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'grpc', 'google.protobuf', 'pandas', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_mistyped_command_is_suggested(cli):
    result = cli("statsu")
    assert result.exit_code == output.EXIT_USAGE
    assert "status" in result.stderr
