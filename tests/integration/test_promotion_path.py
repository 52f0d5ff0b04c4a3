"""From a training run to a deployment: what is logged is registered, gated, promoted, told and accounted for."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import runstream
from runstream.query.client import Client
from runstream.registry.results_promotions import PromotionRefused
from runstream.tracking import fluent

from tests.integration.conftest import TOPOLOGIES
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runstream.registry.results import ModelVersion

MODEL = "churn"
COMMIT = "4f0c8a3be2d3f0c1a9f1f7f6f2f3c5d8e7a6b5c4"
COMMAND = Path(sys.executable).with_name("runstream")
SECONDS = 90.0
"""Longest wait on a loaded machine; a passing test never waits that long."""

DEPLOY = """\
import pathlib, sys
with pathlib.Path(sys.argv[1]).open("a") as calls:
    calls.write(" ".join(sys.argv[2:]) + "\\n")
"""
POLICY = {
    "models": MODEL,
    "targets": "alias/champion",
    "rules": [
        {"metric": {"condition": "accuracy >= 0.9"}},
        {"artifacts": {"paths": ["weights.txt"], "verify_checksums": True}},
    ],
}


@pytest.fixture(params=TOPOLOGIES)
def stack(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, topic_prefix: str, tmp_path: Path
) -> Iterator[ServiceStack]:
    """All four services."""
    kafka = request.getfixturevalue("kafka_bootstrap") if request.param == "kafka" else None
    with fresh_database(postgres_server) as database_url, contextlib.ExitStack() as exits:
        running = ServiceStack(
            tmp_path,
            database_url=database_url,
            bus_url=f"kafka://{kafka}" if kafka else database_url,
            topic_prefix=topic_prefix,
            names=("metadata", "ingest", "artifact", "registry"),
        )
        exits.callback(running.stop)
        running.start()
        yield running


@pytest.fixture
def client(stack: ServiceStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The package's functions log to the deployment, and "ada" does it."""
    monkeypatch.setenv("RUNSTREAM_ACTOR", "ada")
    monkeypatch.setenv("RUNSTREAM_URL", stack.metadata.target)
    fluent.close()
    runstream.init(stack.metadata.target, spool_dir=tmp_path / "spool", system_metrics=False, capture=False)
    with Client(stack.metadata.target) as client:
        yield client
    fluent.close()


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Where the deployment script notes what it was called with."""
    (tmp_path / "deploy.py").write_text(DEPLOY)
    return tmp_path / "calls"


def train(accuracy: float) -> ModelVersion:
    """A run that reads a dataset, logs a metric and a model, and registers it."""
    with runstream.start_run(tags={"mlflow.source.git.commit": COMMIT}) as run:
        run.log_input(
            "customers", "d1gest", source_type="s3", source="s3://data/customers", context="training"
        )
        runstream.log_metric("accuracy", accuracy, 1)
        runstream.log_text(f"weights of {accuracy}", "model/weights.txt")
        return runstream.register_model("model", MODEL)


@contextlib.contextmanager
def deployer(calls: Path, limit: int) -> Iterator[subprocess.Popen[str]]:
    """`runstream events tail --exec` as the deployment system's process, once it has joined its group."""
    script = f"{sys.executable} {calls.with_name('deploy.py')} {calls} {{model}} {{version}}"
    options = ["--group", "deployer", "--limit", str(limit), "--json", "--exec", script]
    process = subprocess.Popen(
        [str(COMMAND), "events", "tail", "model-promoted", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stderr is not None
        assert "is new" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def check_lineage(client: Client, version: ModelVersion) -> None:
    lineage = client.models.lineage(MODEL, version.version)
    assert lineage.run is not None
    assert (lineage.run.run_id, lineage.run.git_commit) == (version.run_id, COMMIT)
    (dataset,) = lineage.run.datasets
    assert (dataset.name, dataset.digest, dataset.context) == ("customers", "d1gest", "training")
    assert [(made.target, made.actor, made.current) for made in lineage.promotions] == [
        ("champion", "ada", True)
    ]


def test_a_logged_model_reaches_its_deployment_once_and_a_rollback_follows(
    client: Client, calls: Path
) -> None:
    """D3: a deployment for each promotion. A3, D1: the files are those that were logged."""
    first, bad, good = train(0.91), train(0.5), train(0.97)
    client.models.put_policy("quality", POLICY)
    with deployer(calls, limit=3) as process:
        client.models.promote(MODEL, first.version, alias="champion")
        with pytest.raises(PromotionRefused, match=r"accuracy >= 0\.9.*0\.5"):
            client.models.promote(MODEL, bad.version, alias="champion")
        assert client.models.resolve(MODEL, alias="champion").version == first.version
        promoted = client.models.promote(MODEL, good.version, alias="champion", reason="better")
        assert promoted.promotion is not None
        assert promoted.promotion.git_commit == COMMIT
        check_lineage(client, good)
        rolled_back = client.models.rollback(MODEL, alias="champion", reason="complaints")
        assert rolled_back.promotion is not None
        assert rolled_back.promotion.rollback
        _, problem = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, problem
    assert calls.read_text().splitlines() == [
        f"{MODEL} {first.version}",
        f"{MODEL} {good.version}",
        f"{MODEL} {first.version}",
    ]
    assert [made.sequence for made in client.models.promotions(MODEL)] == [3, 2, 1]
    assert client.artifacts.read_bytes(f"models:/{MODEL}@champion", "weights.txt") == b"weights of 0.91"
    verified = subprocess.run(
        [str(COMMAND), "registry", "verify-audit"],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_deployment_that_was_away_gets_what_it_missed_and_nothing_twice(
    client: Client, calls: Path
) -> None:
    with deployer(calls, limit=1) as process:
        for version in (train(0.91), train(0.92)):
            client.models.promote(MODEL, version.version, alias="champion")
        process.communicate(timeout=SECONDS)
    client.models.rollback(MODEL, alias="champion")
    script = f"{sys.executable} {calls.with_name('deploy.py')} {calls} {{model}} {{version}}"
    options = ["--group", "deployer", "--limit", "2", "--exec", script]
    back = subprocess.run(
        [str(COMMAND), "events", "tail", "model-promoted", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert back.returncode == 0, back.stderr
    assert calls.read_text().splitlines() == [f"{MODEL} 1", f"{MODEL} 2", f"{MODEL} 1"]
