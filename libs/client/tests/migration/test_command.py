"""`runstream import mlflow` as people run it: from a server, from its database, killed and repeated, and without writing."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from runstream.query.client import Client

from libs.client.tests.migration.filling import Filled, fill
from tests.support.mlflow_server import MlflowServer

RUNS = 40


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def filled(server, tmp_path_factory) -> Filled:
    return fill(tmp_path_factory.mktemp("files"), f"served-{uuid.uuid4().hex[:8]}", server.url)


def command(*arguments: str, url: str) -> list[str]:
    return [sys.executable, "-m", "runstream", *arguments, "--url", url]


def run(*arguments: str, url: str) -> tuple[int, dict]:
    done = subprocess.run(
        command(*arguments, url=url), check=False, capture_output=True, text=True, timeout=250
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.timeout(300)
def test_import_from_a_server_and_from_its_database(server, filled, mlflow_stack, tmp_path):
    url = mlflow_stack.metadata.target
    state = ("--state", str(tmp_path / "http"))
    code, report = run("import", "mlflow", "--from", server.url, *state, "--json", url=url)
    store = ("--from", server.store_uri, "--artifacts-from", str(tmp_path.parent / "none"))
    counted, counts = run("import", "mlflow", *store, "--dry-run", "--json", url=url)

    assert report["problems"] == []
    assert (code, counted) == (0, 0)
    assert report["carried"]["runs"] == report["verified"]["runs"] == counts["runs"] == 4
    assert report["carried"]["files"] == 4
    with Client(url) as client:
        assert client.artifacts.read_bytes(filled.run_id, "notes.txt") == b"notes"
        assert client.models.get(filled.model).aliases == {"champion": 1}


def test_location_behind_a_server_that_was_not_named_is_reported(server, filled, mlflow_stack, tmp_path):
    arguments = (
        "--from",
        server.store_uri,
        "-e",
        filled.name,
        "--no-registry",
        "--state",
        str(tmp_path / "state"),
    )
    code, report = run("import", "mlflow", *arguments, "--json", url=mlflow_stack.metadata.target)

    assert code == 1
    assert any("--artifacts-from" in problem for problem in report["problems"])


@pytest.mark.timeout(300)
def test_killed_import_goes_on_where_it_stopped(mlflow_stack, tmp_path):
    source, name = many_runs(tmp_path)
    state = tmp_path / "state.sqlite"
    arguments = (
        "import",
        "mlflow",
        "--from",
        source,
        "-e",
        name,
        "--state",
        str(state),
        "--workers",
        "1",
        "--json",
    )
    first = subprocess.Popen(command(*arguments, url=mlflow_stack.metadata.target))
    wait_for_runs(state, first)
    first.kill()
    first.wait()
    code, report = run(*arguments, url=mlflow_stack.metadata.target)

    assert code == 0, report["problems"]
    assert report["skipped"]["runs"] >= 3
    assert report["skipped"]["runs"] + report["carried"]["runs"] == report["verified"]["runs"] == RUNS


def many_runs(folder) -> tuple[str, str]:
    uri, name = f"sqlite:///{folder / 'many.db'}", f"many-{uuid.uuid4().hex[:8]}"
    client = MlflowClient(tracking_uri=uri)
    experiment_id = client.create_experiment(name, artifact_location=(folder / "files").as_uri())
    points = [Metric("loss", 1 / (step + 1), step, step) for step in range(300)]
    for _ in range(RUNS):
        run_id = client.create_run(experiment_id).info.run_id
        client.log_batch(run_id, points)
        client.set_terminated(run_id)
    return uri, name


def wait_for_runs(state, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        if state.exists():
            try:
                with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as connection:
                    (count,) = connection.execute("SELECT count(*) FROM done WHERE kind = 'run'").fetchone()
            except sqlite3.OperationalError:
                count = 0  # not yet made
            if count >= 3:
                return
        time.sleep(0.01)
    raise AssertionError(f"the import ended with code {process.returncode} before it could be killed")


def test_missing_source_is_named(mlflow_stack):
    done = subprocess.run(
        command("import", "mlflow", "--from", "sqlite:////nowhere/x.db", url=mlflow_stack.metadata.target),
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "COLUMNS": "200"},
    )

    assert done.returncode == 3
    assert "/nowhere/x.db" in done.stderr
