"""The progress bar: only on a terminal, only for what takes a while, and never in the way."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn
from runstream.artifacts import progress
from runstream.artifacts.progress import Bar, Meter, TransferState


def bar_on(output: io.StringIO, *, terminal: bool = True) -> Bar:
    console = Console(file=output, force_terminal=terminal, width=80)
    return Bar(
        Progress(TextColumn("{task.description} {task.completed} {task.fields[files]}"), console=console)
    )


def test_a_quick_transfer_draws_nothing(monkeypatch):
    monkeypatch.setattr(progress, "SHOW_AFTER_SECONDS", 3600)
    output = io.StringIO()
    bar = bar_on(output)
    bar.update(TransferState("uploading", total_bytes=10))
    bar.close()
    assert output.getvalue() == ""


def test_a_slow_one_shows_bytes_and_files(monkeypatch):
    monkeypatch.setattr(progress, "SHOW_AFTER_SECONDS", 0)
    output = io.StringIO()
    bar = bar_on(output)
    bar.update(TransferState("uploading", 1, 3, 5, 10))
    bar.close()
    assert "uploading 5 1/3 files" in output.getvalue()


def test_another_display_of_the_program_goes_on(monkeypatch):
    from rich.errors import LiveError

    monkeypatch.setattr(progress, "SHOW_AFTER_SECONDS", 0)
    bar = bar_on(io.StringIO())

    def refuse() -> None:
        raise LiveError("Only one live display may be active at once")

    monkeypatch.setattr(bar._drawing, "start", refuse)
    bar.update(TransferState("uploading"))
    bar.update(TransferState("uploading"))
    bar.close()
    assert not bar._drawing.tasks


def test_without_a_terminal_there_is_no_bar(capsys):
    with Meter("uploading", None) as meter:
        meter.add(files=1, size_bytes=5)
        meter.advance(5)
        meter.finish()
    assert capsys.readouterr() == ("", "")
    assert meter.state == TransferState("uploading", 1, 1, 5, 5)


def test_an_observer_that_fails_ends_the_transfer(artifacts, store, tmp_path):
    (tmp_path / "a").write_bytes(b"1")

    def fail(state) -> None:
        raise ValueError("observer")

    with pytest.raises(ValueError, match="observer"):
        artifacts.upload(tmp_path, "ab" * 16, progress=fail)
