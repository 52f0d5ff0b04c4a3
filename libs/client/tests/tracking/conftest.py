"""A fake deployment and a clean process-wide state for each test of the logging half."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import runstream
from runstream.tracking import fluent
from runstream.tracking.session import Session
from runstream.tracking.settings import Settings

from tests.support.fake_server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A deployment that starts reachable."""
    fake = FakeServer()
    yield fake
    fake.failure, fake.delay_seconds = None, 0.0
    fake.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for tests: no extra threads, short waits."""
    return Settings(
        spool_dir=tmp_path / "spool",
        system_metrics=False,
        capture=False,
        flush_interval_ms=20,
        request_timeout_seconds=5,
        exit_timeout_seconds=10,
    )


@pytest.fixture
def session(server: FakeServer, settings: Settings) -> Iterator[Session]:
    """A session of its own."""
    made = Session(server.url, settings)
    yield made
    for run in made.open_runs():
        run.end(timeout_seconds=1)
    made.close()


@pytest.fixture
def runstream_here(
    server: FakeServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeServer]:
    """The package's functions, logging to the fake deployment."""
    fluent.close()
    monkeypatch.setenv("RUNSTREAM_FLUSH_INTERVAL_MS", "20")
    runstream.init(server.url, spool_dir=settings.spool_dir, system_metrics=False, capture=False)
    yield server
    fluent.close()
