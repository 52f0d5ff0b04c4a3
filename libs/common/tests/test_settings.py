"""Settings: environment, files, bounds, retired names, and no secret in any text."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, ClassVar

import pytest
from pydantic import Field
from runstream_common.settings import (
    ServiceSettings,
    SettingsBlock,
    SettingsError,
    load_settings,
    settings_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture(autouse=True)
def _only_what_the_test_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_BUS_URL", "kafka://localhost:9092")
    monkeypatch.delenv("RUNSTREAM_DATABASE_URL", raising=False)


class Renamed(ServiceSettings):
    """A service that renamed a setting."""

    retired_names: ClassVar[Mapping[str, str]] = {"RUNSTREAM_CHUNK_ROWS": "RUNSTREAM_CHUNK_POINTS"}
    chunk_points: int = Field(1000, ge=1, description="Points a chunk")


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_GRPC_PORT", "6000")
    monkeypatch.setenv("RUNSTREAM_SERVICES", "ingest=a:1, metadata=b:2")
    settings = load_settings(ServiceSettings, admin_port=7000)
    assert (settings.grpc_port, settings.admin_port) == (6000, 7000)
    assert settings.services == {"ingest": "a:1", "metadata": "b:2"}
    assert settings.bus_url.get_secret_value() == "kafka://localhost:9092"


def test_an_empty_value_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_GRPC_PORT", "")
    assert load_settings(ServiceSettings).grpc_port == 5050


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://me:hunter2@db/runstream\n")
    monkeypatch.setenv("RUNSTREAM_DATABASE_URL_FILE", str(secret))
    settings = load_settings(ServiceSettings)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://me:hunter2@db/runstream"
    assert "hunter2" not in f"{settings!r}{settings}{settings.model_dump_json()}"


def test_a_value_and_a_file_together_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNSTREAM_BUS_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(SettingsError, match="RUNSTREAM_BUS_URL and RUNSTREAM_BUS_URL_FILE are both set"):
        load_settings(ServiceSettings)


def test_an_unreadable_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNSTREAM_DATABASE_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"RUNSTREAM_DATABASE_URL_FILE: cannot read .*missing"):
        load_settings(ServiceSettings)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RUNSTREAM_GRPC_PORT", "70000", "less than or equal to 65535"),
        ("RUNSTREAM_GRPC_PORT", "many", "valid integer"),
        ("RUNSTREAM_LOG_LEVEL", "loud", "'debug', 'info'"),
        ("RUNSTREAM_KAFKA_COMPRESSION", "gzip", "'lz4', 'zstd'"),
        ("RUNSTREAM_SERVICES", "ingest", "ingest=host:port"),
        ("RUNSTREAM_BUS_URL", "amqp://me:hunter2@host", "kafka://"),
        ("RUNSTREAM_DATABASE_URL", "mysql://me:hunter2@host", "postgresql://"),
        ("RUNSTREAM_DEAD_LETTER_MAX_RATIO", "1.5", "less than or equal to 1"),
    ],
)
def test_a_wrong_value_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(ServiceSettings)
    assert str(caught.value).startswith(f"{name}: ")
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_every_problem_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNSTREAM_BUS_URL")
    monkeypatch.setenv("RUNSTREAM_ADMIN_PORT", "-1")
    with pytest.raises(SettingsError) as caught:
        load_settings(ServiceSettings)
    assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == {
        "RUNSTREAM_BUS_URL",
        "RUNSTREAM_ADMIN_PORT",
    }


def test_a_retired_name_fails_with_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_CHUNK_ROWS", "5")
    with pytest.raises(
        SettingsError, match="RUNSTREAM_CHUNK_ROWS is no longer read: use RUNSTREAM_CHUNK_POINTS"
    ):
        load_settings(Renamed)


def test_a_retired_name_of_a_base_fails_in_a_subclass(monkeypatch: pytest.MonkeyPatch) -> None:
    class Further(Renamed):
        retired_names: ClassVar[Mapping[str, str]] = {"RUNSTREAM_OLD": "RUNSTREAM_NEW"}

    monkeypatch.setenv("RUNSTREAM_CHUNK_ROWS", "5")
    with pytest.raises(SettingsError, match="RUNSTREAM_CHUNK_POINTS"):
        load_settings(Further)


def test_every_setting_is_described_and_in_the_table() -> None:
    table = settings_table()
    for name, field in ServiceSettings.model_fields.items():
        assert field.description, name
        assert f"`RUNSTREAM_{name.upper()}`" in table


def test_a_service_prints_its_own_settings_alone() -> None:
    table = settings_table(Renamed)
    assert "| `RUNSTREAM_CHUNK_POINTS` | `1000` | ≥ 1 | Points a chunk |" in table
    assert "RUNSTREAM_GRPC_PORT" not in table


def test_the_module_prints_the_table_without_any_setting() -> None:
    command = [sys.executable, "-m", "runstream_common.settings"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert printed.stdout.strip() == settings_table()


def test_settings_cannot_be_changed_after_start() -> None:
    settings = load_settings(ServiceSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.grpc_port = 1  # type: ignore[misc]
    assert issubclass(ServiceSettings, SettingsBlock)
