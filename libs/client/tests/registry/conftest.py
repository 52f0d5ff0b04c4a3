"""The real services as processes, shared by the tests of the registry's half of the SDK; each test has names of its own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator

import pytest
import runstream
from cryptography.fernet import Fernet
from runstream.cli.app import app
from runstream.query.client import Client
from runstream.tracking import fluent
from typer.testing import CliRunner

from tests.support.postgres import PostgresServer, fresh_database
from tests.support.service_stack import ServiceStack

MakeRun = Callable[..., str]

SIGNATURE = {"inputs": '[{"type": "double", "name": "amount"}]', "outputs": '[{"type": "long"}]'}


@pytest.fixture(scope="session")
def registry_url(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a deployment with every service."""
    with fresh_database(postgres_server) as url:
        stack = ServiceStack(
            tmp_path_factory.mktemp("registry-stack"),
            database_url=url,
            bus_url=url,
            names=("metadata", "ingest", "artifact", "registry"),
            settings={
                # Receivers of webhooks are in this process.
                "RUNSTREAM_WEBHOOK_ALLOW_HTTP": "true",
                "RUNSTREAM_WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
                "RUNSTREAM_WEBHOOK_POLL_SECONDS": "0.1",
                "RUNSTREAM_WEBHOOK_SECRET_KEYS": Fernet.generate_key().decode(),
            },
        )
        try:
            stack.start()
            yield stack.metadata.target
        finally:
            stack.stop()


@pytest.fixture
def client(registry_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client whose calls are made by "ada"."""
    monkeypatch.setenv("RUNSTREAM_ACTOR", "ada")
    with Client(registry_url) as client:
        yield client


@pytest.fixture
def name() -> str:
    """The name of a model or prompt that no other test has."""
    return f"fraud-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def logging_here(registry_url: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package's functions, logging to the deployment."""
    fluent.close()
    monkeypatch.setenv("RUNSTREAM_ACTOR", "ada")
    runstream.init(registry_url, spool_dir=tmp_path / "spool", system_metrics=False, capture=False)
    yield
    fluent.close()


@pytest.fixture
def make_run(logging_here) -> MakeRun:
    """Makes a finished run: ``make_run(files={"model/weights.txt": "w"}, accuracy=0.9)``; returns its id."""

    def make(*, files: dict[str, str], params: dict[str, object] | None = None, **metrics: float) -> str:
        with runstream.start_run() as run:
            runstream.log_params(params or {})
            runstream.log_metrics(metrics, step=1)
            for path, text in files.items():
                runstream.log_text(text, path)
        return run.run_id

    return make


@pytest.fixture
def cli(registry_url: str, monkeypatch: pytest.MonkeyPatch):
    """Runs a command against the deployment; returns the result with stdout, stderr and exit code."""
    monkeypatch.setenv("RUNSTREAM_URL", registry_url)
    monkeypatch.setenv("RUNSTREAM_ACTOR", "ada")
    return lambda *words: CliRunner().invoke(app, list(words))


def json_of(result) -> dict:
    """The document that a command printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
