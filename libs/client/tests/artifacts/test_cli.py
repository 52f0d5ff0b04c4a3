"""`runstream artifacts`: what it prints, its JSON and its exit codes."""

from __future__ import annotations

import json

import pytest
from runstream.cli import output
from runstream.cli.app import app
from typer.testing import CliRunner

from libs.client.tests.artifacts.conftest import RUN, content_of

OTHER = "cd" * 16


@pytest.fixture
def cli(store, monkeypatch):
    """Runs a command against the deployment; returns the result with stdout, stderr and exit code."""
    monkeypatch.setenv("RUNSTREAM_URL", store.url)
    monkeypatch.setenv("RUNSTREAM_TRANSFER_RETRY_SECONDS", "0")
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, ["artifacts", *map(str, words)])


@pytest.fixture
def model(tmp_path):
    """A folder "model" with two files."""
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "data" / "weights.bin").write_bytes(content_of(9000))
    return folder


def json_of(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_folder_keeps_its_name_and_with_a_slash_only_its_content_goes(cli, store, model):
    result = cli("put", model, RUN)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("stored 2 files (8.8 KiB) at runstream://runs/")
    assert set(store.trees[RUN]) == {"model/MLmodel", "model/data/weights.bin"}
    done = json_of(cli("put", f"{model}/", model / "MLmodel", f"runs:/{OTHER}/in", "--json"))
    assert set(store.trees[OTHER]) == {"in/MLmodel", "in/data/weights.bin"}
    assert (done["file_count"], done["sent_count"], done["sent_bytes"]) == (3, 0, 0)


def test_directories_are_listed(cli, model):
    cli("put", model, RUN)
    assert cli("ls", RUN).stdout.split()[-1] == "model/"
    lines = cli("ls", f"runs:/{RUN}/model").stdout.splitlines()
    assert lines[1].split()[:2] == ["12", "B"]
    assert lines[1].endswith("model/MLmodel")
    listing = json_of(cli("ls", RUN, "-r", "--json"))
    assert [item["path"] for item in listing["artifacts"]] == ["model/MLmodel", "model/data/weights.bin"]
    assert listing["more"] is False
    assert json_of(cli("ls", RUN, "-r", "-n", "1", "--json"))["more"] is True
    assert "model/MLmodel" in cli("ls", f"runs:/{RUN}/model/MLmodel").stdout
    missing = cli("ls", f"runs:/{RUN}/nowhere")
    assert missing.exit_code == output.EXIT_NOT_FOUND


def test_files_are_fetched_once(cli, model, tmp_path, monkeypatch):
    cli("put", model, RUN)
    out = tmp_path / "out"
    assert cli("get", f"runs:/{RUN}/model", out).stdout.startswith("fetched 2 files (8.8 KiB)")
    assert (out / "data" / "weights.bin").read_bytes() == content_of(9000)
    again = json_of(cli("get", f"runs:/{RUN}/model", out, "--json"))
    assert (again["file_count"], again["fetched_count"]) == (2, 0)
    cli("get", f"runs:/{RUN}/model/MLmodel", out / "data")
    assert (out / "data" / "MLmodel").is_file()
    monkeypatch.chdir(tmp_path / "out")
    cli("get", f"runs:/{RUN}/model/data")
    assert (out / "data" / "weights.bin").is_file()
    cli("get", RUN)
    assert (out / RUN / "model" / "MLmodel").is_file()


def test_cat_writes_bytes_and_ranges(cli, store, model):
    cli("put", model, RUN)
    weights = f"runs:/{RUN}/model/data/weights.bin"
    assert cli("cat", weights).stdout_bytes == content_of(9000)
    assert cli("cat", weights, "--offset", 10, "--length", 5).stdout_bytes == content_of(9000)[10:15]
    store.corrupt = lambda content: bytes(len(content))
    assert cli("cat", weights).exit_code == output.EXIT_PROBLEM


def test_sizes_are_shown(cli, model):
    cli("put", model, RUN)
    assert "8.8 KiB" in cli("du", RUN).stdout
    trees = json_of(cli("du", RUN, f"runs:/{RUN}/model/data", "--json"))["trees"]
    assert [(tree["file_count"], tree["size_bytes"]) for tree in trees] == [(2, 9012), (1, 9000)]


def test_files_are_copied_moved_and_deleted(cli, store, model):
    cli("put", model, RUN)
    assert "2 files" in cli("cp", f"runs:/{RUN}/model", f"runs:/{OTHER}/best").stdout
    assert set(store.trees[OTHER]) == {"best/MLmodel", "best/data/weights.bin"}
    assert json_of(cli("mv", f"runs:/{OTHER}/best", "first/best", "--json")) == {"moved": 2}
    assert set(store.trees[OTHER]) == {"first/best/MLmodel", "first/best/data/weights.bin"}
    assert cli("rm", f"runs:/{OTHER}/first").exit_code == output.EXIT_USAGE
    assert cli("rm", OTHER).exit_code == output.EXIT_USAGE
    assert cli("rm", f"runs:/{OTHER}/first/best/MLmodel").stdout == "deleted 1 file\n"
    assert json_of(cli("rm", "-r", OTHER, "--json")) == {"deleted": 1}
    assert cli("rm", "-r", OTHER).exit_code == output.EXIT_NOT_FOUND


def test_verify_fails_when_something_is_wrong(cli, store, model):
    cli("put", model, RUN)
    assert cli("verify", RUN).stdout == "2 files (8.8 KiB) are as recorded\n"
    store.blobs[store.trees[RUN]["model/MLmodel"]] = b"tampered"
    result = cli("verify", f"runs:/{RUN}/model", "--read")
    assert result.exit_code == output.EXIT_PROBLEM
    assert "CHECKSUM_MISMATCH" in result.stdout
    assert json.loads(cli("verify", RUN, "--json").stdout)["ok"] is False


def test_errors_are_one_line(cli, tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for words, code in (
        (("put", tmp_path / "link", RUN), output.EXIT_USAGE),
        (("put", RUN), output.EXIT_USAGE),
        (("put", tmp_path / "missing", RUN), output.EXIT_NOT_FOUND),
        (("cat", RUN), output.EXIT_USAGE),
        (("ls", "s3://bucket"), output.EXIT_USAGE),
        (("get", f"runs:/{RUN}/x", tmp_path / "x"), output.EXIT_NOT_FOUND),
        (("mv", RUN, "x"), output.EXIT_USAGE),
    ):
        result = cli(*words)
        assert result.exit_code == code, result.output
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
