"""Files that are logged from training code: names and rules as MLflow's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import runstream
from runstream_common.errors import FailedPrecondition, InvalidArgument, Unavailable

from tests.support.fake_artifacts import FakeArtifacts
from tests.support.fake_server import FakeServer


@pytest.fixture
def store(runstream_here: FakeServer) -> Iterator[FakeArtifacts]:
    """The deployment's artifact service."""
    fake = FakeArtifacts()
    runstream_here.further_targets["artifact"] = fake.url
    yield fake
    fake.stop()


def test_files_and_folders_go_where_mlflow_puts_them(store: FakeArtifacts, tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.bin").write_bytes(b"a")
    (tmp_path / "notes.txt").write_text("notes")
    with runstream.start_run() as run:
        runstream.log_artifact(tmp_path / "notes.txt")
        runstream.log_artifact(str(tmp_path / "notes.txt"), "texts/today")
        runstream.log_artifact(tmp_path / "model")
        runstream.log_artifact(tmp_path / "model", "kept")
        runstream.log_artifacts(tmp_path / "model", "flat")
        runstream.log_artifacts(tmp_path / "model")
        names = [(item.path, item.is_directory) for item in runstream.list_artifacts()]
        assert [item.path for item in run.list_artifacts("kept")] == ["kept/model"]
    assert set(store.trees[run.run_id]) == {
        "notes.txt",
        "texts/today/notes.txt",
        "model/a.bin",
        "kept/model/a.bin",
        "flat/a.bin",
        "a.bin",
    }
    assert ("notes.txt", False) in names
    assert ("model", True) in names


def test_objects_become_files(store: FakeArtifacts):
    with runstream.start_run() as run:
        runstream.log_text("größe", "a/text.txt")
        runstream.log_dict({"k": [1]}, "a/data.json")
        runstream.log_image(np.zeros((4, 4), np.uint8), "a/zero.png")
        runstream.log_image(np.zeros((4, 4)), key="dogs", step=2)
        runstream.log_table({"q": ["x"], "n": [1]}, "tables/t.json")
        runstream.log_table({"q": ["y"], "n": [2]}, "tables/t.json")
        runstream.log_table({"n": [2]}, "tables/u.json")
        tags = dict(store_tags(run.run_id))
    assert store.content(run.run_id, "a/text.txt") == "größe".encode()
    assert json.loads(store.content(run.run_id, "a/data.json")) == {"k": [1]}
    assert store.content(run.run_id, "a/zero.png").startswith(b"\x89PNG")
    images = [path for path in store.trees[run.run_id] if path.startswith("images/dogs%step%2%")]
    assert sorted(path.rpartition(".")[2] for path in images) == ["png", "webp"]
    table = json.loads(store.content(run.run_id, "tables/t.json"))
    assert table == {"columns": ["q", "n"], "data": [["x", 1], ["y", 2]]}
    assert tags["mlflow.loggedImages"] == "True"
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [
        {"path": "tables/t.json", "type": "table"},
        {"path": "tables/u.json", "type": "table"},
    ]


def store_tags(run_id: str) -> dict[str, str]:
    with runstream.Client() as client:
        return client.get_run(run_id).tags


def test_downloads_keep_the_path_below_the_folder(store: FakeArtifacts, tmp_path: Path):
    with runstream.start_run() as run:
        runstream.log_text("1", "a/b/c.txt")
        runstream.log_text("2", "d.txt")
        assert runstream.download_artifacts(artifact_path="a/b/c.txt", dst_path=tmp_path) == str(
            tmp_path / "a" / "b" / "c.txt"
        )
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "1"
    where = runstream.download_artifacts(f"runs:/{run.run_id}/a")
    assert (Path(where) / "b" / "c.txt").read_text() == "1"
    whole = runstream.download_artifacts(run_id=run.run_id, dst_path=tmp_path / "whole")
    assert Path(whole) == tmp_path / "whole"
    assert (tmp_path / "whole" / "d.txt").read_text() == "2"
    with pytest.raises(InvalidArgument, match="either"):
        runstream.download_artifacts(f"runs:/{run.run_id}/a", run_id=run.run_id)


def test_arguments_that_contradict_are_refused(store: FakeArtifacts, tmp_path: Path):
    with runstream.start_run():
        for options in ({}, {"artifact_file": "a.png", "key": "k"}, {"artifact_file": "a.png", "step": 1}):
            with pytest.raises(InvalidArgument):
                runstream.log_image(np.zeros((2, 2)), **options)
        with pytest.raises(InvalidArgument, match="no folder"):
            runstream.log_artifacts(tmp_path / "missing")
    with pytest.raises(FailedPrecondition, match="start_run"):
        runstream.log_text("x", "x.txt")


def test_an_ended_run_takes_no_files(store: FakeArtifacts):
    with runstream.start_run() as run:
        pass
    with pytest.raises(FailedPrecondition, match="has ended"):
        run.log_text("x", "x.txt")


def test_files_do_not_wait_in_the_spool(
    store: FakeArtifacts, runstream_here: FakeServer, monkeypatch: pytest.MonkeyPatch
):
    """Metrics wait for a server that is away; files are an error, which training code can see."""
    monkeypatch.setenv("RUNSTREAM_TRANSFER_RETRY_SECONDS", "0")
    with runstream.start_run() as run:
        store.rpc_fault = lambda method: Unavailable("away")
        with pytest.raises(Unavailable):
            runstream.log_text("x", "x.txt")
        store.rpc_fault = lambda method: None
        runstream.log_text("x", "x.txt")
    assert store.content(run.run_id, "x.txt") == b"x"


def test_a_run_that_began_offline_takes_files_when_the_server_is_back(
    store: FakeArtifacts, runstream_here: FakeServer
):
    runstream_here.failure = Unavailable("away")
    with runstream.start_run() as run:
        runstream_here.failure = None
        runstream.log_text("x", "x.txt")
        assert run.run_id in runstream_here.runs
    assert store.content(run.run_id, "x.txt") == b"x"


def test_threads_log_at_once(store: FakeArtifacts):
    with runstream.start_run() as run:
        threads = [
            threading.Thread(target=run.log_table, args=({"n": [number]}, "t.json")) for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = json.loads(store.content(run.run_id, "t.json"))["data"]
    assert sorted(rows) == [[number] for number in range(8)]


def test_a_child_forked_after_grpc_is_told(store: FakeArtifacts, tmp_path: Path):
    script = f"""
import os, sys, runstream
run = runstream.start_run()
runstream.log_text("parent", "parent.txt")
child = os.fork()
if not child:
    try:
        runstream.log_text("child", "child.txt")
    except Exception as error:
        open({str(tmp_path / "error")!r}, "w").write(f"{{error.reason}}: {{error}}")
    runstream.flush()
    os._exit(0)
os.waitpid(child, 0)
"""
    done = run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "error").read_text().startswith("FORKED: ")


def test_a_killed_upload_is_resumed_by_the_next_process(store: FakeArtifacts, tmp_path: Path):
    """SIGKILL in the middle of a multipart upload loses only the parts that were under way."""
    content = os.urandom(64 * 1024)
    (tmp_path / "large").write_bytes(content)
    halfway, parts = threading.Event(), 64

    def stop_halfway(method: str, path: str) -> None:
        if method == "PUT" and store.requests["PUT part"] >= parts // 2:
            halfway.set()
            killed.wait(20)

    killed = threading.Event()
    store.on_request = stop_halfway
    script = f"""
import runstream
run = runstream.start_run(run_id="{"ab" * 16}")
run.log_artifact({str(tmp_path / "large")!r})
"""
    process = subprocess.Popen([sys.executable, "-c", script], env=environment(tmp_path))
    try:
        assert halfway.wait(60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed.set()
        store.on_request = lambda method, path: None
    assert "ab" * 16 not in store.trees
    (upload,) = store.uploads.values()
    arrived = len(upload.parts)
    assert arrived >= parts // 2
    before = store.requests["PUT part"]
    done = run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert store.content("ab" * 16, "large") == content
    assert store.requests["PUT part"] - before <= parts - parts // 2


def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "RUNSTREAM_URL": str(runstream.tracking.fluent.server_target()),
        "RUNSTREAM_SPOOL_DIR": str(tmp_path / "spool"),
        "RUNSTREAM_SYSTEM_METRICS": "false",
        "RUNSTREAM_CAPTURE": "false",
    }


def run_script(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
