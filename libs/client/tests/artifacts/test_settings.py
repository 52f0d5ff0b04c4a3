"""Settings of transfers."""

from __future__ import annotations

import pytest
from runstream.artifacts.settings import TransferSettings
from runstream_common.errors import InvalidArgument


def test_the_environment_is_read_and_checked(monkeypatch):
    assert 4 <= TransferSettings.load().transfer_threads <= 16
    monkeypatch.setenv("RUNSTREAM_TRANSFER_THREADS", "3")
    monkeypatch.setenv("RUNSTREAM_TRANSFER_RETRY_SECONDS", "0.5")
    assert TransferSettings.load() == TransferSettings(3, 0.5)
    for variable, text in (
        ("RUNSTREAM_TRANSFER_THREADS", "0"),
        ("RUNSTREAM_TRANSFER_THREADS", "many"),
        ("RUNSTREAM_TRANSFER_RETRY_SECONDS", "-1"),
    ):
        with monkeypatch.context() as changed:
            changed.setenv(variable, text)
            with pytest.raises(InvalidArgument, match=f"(?i){variable.removeprefix('RUNSTREAM_')}"):
                TransferSettings.load()
