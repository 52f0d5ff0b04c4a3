"""Settings, retries and the progress bar."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from rich.console import Console
from runstream.tracking import progress
from runstream.tracking.progress import FlushProgress
from runstream.tracking.retry import Backoff
from runstream.tracking.settings import Settings
from runstream_common.errors import InvalidArgument


def test_settings_come_from_the_environment_and_arguments_win(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNSTREAM_SPOOL_DIR", str(tmp_path))
    monkeypatch.setenv("RUNSTREAM_SYSTEM_METRICS", "off")
    monkeypatch.setenv("RUNSTREAM_BUFFER_POINTS", "5000")
    monkeypatch.setenv("RUNSTREAM_LEASE_SECONDS", "90")
    settings = Settings.load({"lease_seconds": 30.0, "capture": None})
    assert settings.spool_dir == tmp_path
    assert isinstance(settings.spool_dir, Path)
    assert (settings.system_metrics, settings.buffer_points, settings.lease_seconds) == (False, 5000, 30.0)
    assert settings.capture is True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RUNSTREAM_BUFFER_POINTS", "many"),
        ("RUNSTREAM_CAPTURE", "perhaps"),
        ("RUNSTREAM_LEASE_SECONDS", "1"),
        ("RUNSTREAM_FLUSH_INTERVAL_MS", "0"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(InvalidArgument) as refused:
        Settings.load()
    assert name.removeprefix("RUNSTREAM_").lower() in str(refused.value).lower()


def test_delays_grow_to_a_bound_and_never_undercut_the_server():
    backoff = Backoff(first_seconds=1, max_seconds=8)
    delays = [backoff.next_seconds() for _ in range(50)]
    ceilings = [min(8, 2**i) for i in range(50)]
    assert all(0 <= delay <= ceiling for delay, ceiling in zip(delays, ceilings, strict=True))
    assert len(set(delays)) == 50
    assert backoff.next_seconds(at_least_seconds=100) >= 100
    backoff.reset()
    assert backoff.next_seconds() <= 1


def test_every_setting_is_documented_with_its_default():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for field in fields(Settings):
        (row,) = re.findall(rf"^\| `RUNSTREAM_{field.name.upper()}` \| (.*?) \|", readme, re.MULTILINE)
        if field.default is not MISSING:
            assert row == (str(field.default).lower() or "empty"), field.name


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_is_for_terminals_only(monkeypatch, terminal):
    monkeypatch.setattr(progress, "SHOW_AFTER_SECONDS", 0.0)
    console = Console(force_terminal=terminal, width=100, record=True)
    waiting = iter([1000, 400, 0])
    with console.capture() as captured, FlushProgress(lambda: next(waiting), console) as bar:
        bar.update()
        bar.update()
    assert ("1,000/1,000 points" in captured.get()) == terminal
