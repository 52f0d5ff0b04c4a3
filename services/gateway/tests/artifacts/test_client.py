"""MLflow's own client with files, on embedded defaults and on S3: what it stores it finds again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.gateway.tests.artifacts.support import LARGE
from tests.support.object_store import s3_url
from tests.support.postgres import fresh_database
from tests.support.service_stack import EVERY_SERVICE, ServiceStack

# Read by MLflow when it is first imported; a retry of what a server refuses by mistake must not take minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.s3.s3 import S3Server
    from tests.support.postgres import PostgresServer

MEBIBYTE = 1024 * 1024
CONTENT = LARGE * 4 + b"tail"


@pytest.fixture(scope="session")
def s3_gateway(
    postgres_server: PostgresServer, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A deployment with its files on S3, which clients reach by themselves."""
    with fresh_database(postgres_server) as url:
        plain = url.replace("+asyncpg", "")
        stack = ServiceStack(
            tmp_path_factory.mktemp("s3-stack"),
            database_url=plain,
            bus_url=plain,
            names=EVERY_SERVICE,
            object_store_url=s3_url(s3_server),
            settings={"RUNSTREAM_OBJECT_STORE_PUBLIC_URL": f"http://127.0.0.1:{s3_server.port}"},
        )
        try:
            stack.start()
            yield stack.gateway.url
        finally:
            stack.stop()


@pytest.fixture(params=["embedded", pytest.param("s3", marks=pytest.mark.s3)])
def tracking(request: pytest.FixtureRequest) -> Iterator[str]:
    """The tracking URI, set for the test, with an experiment and a run of its own."""
    name = "gateway_url" if request.param == "embedded" else "s3_gateway"
    url: str = request.getfixturevalue(name)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(url)
    mlflow.set_experiment(f"client files {os.urandom(8).hex()}")
    try:
        with mlflow.start_run():
            yield url
    finally:
        mlflow.set_tracking_uri(before)


def run_id() -> str:
    run = mlflow.active_run()
    assert run is not None
    found: str = run.info.run_id
    return found


def test_files_and_folders(tracking: str, tmp_path: Path) -> None:
    del tracking
    client = mlflow.MlflowClient()
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "large.bin").write_bytes(CONTENT)
    (folder / "empty").write_bytes(b"")
    mlflow.log_artifact(folder / "empty", "single")
    mlflow.log_artifacts(folder, "all")
    mlflow.log_text("hello", "notes/a.txt")
    mlflow.log_dict({"a": 1}, "d.json")

    listed = {(item.path, item.is_dir, item.file_size) for item in client.list_artifacts(run_id())}
    got = mlflow.artifacts.download_artifacts(run_id=run_id(), artifact_path="all", dst_path=tmp_path / "got")

    assert listed == {
        ("all", True, None),
        ("d.json", False, 12),
        ("notes", True, None),
        ("single", True, None),
    }
    assert (tmp_path / "got" / "all" / "deep" / "large.bin").read_bytes() == CONTENT
    assert got.rstrip("/").endswith("all")
    assert mlflow.artifacts.load_text(f"runs:/{run_id()}/notes/a.txt") == "hello"
    assert mlflow.artifacts.load_dict(f"runs:/{run_id()}/d.json") == {"a": 1}
    with pytest.raises(Exception, match="nope"):
        mlflow.artifacts.download_artifacts(run_id=run_id(), artifact_path="nope", dst_path=tmp_path)


def test_images_and_tables(tracking: str) -> None:
    del tracking
    mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "black.png")
    mlflow.log_table({"q": ["a"], "n": [1]}, "t.json")
    mlflow.log_table({"q": ["b"], "n": [2]}, "t.json")

    table = mlflow.load_table("t.json", run_ids=[run_id()])

    assert table["q"].tolist() == ["a", "b"]
    assert mlflow.artifacts.load_image(f"runs:/{run_id()}/black.png").size == (4, 4)


def test_files_are_deleted(tracking: str) -> None:
    del tracking
    mlflow.log_text("1", "d/a.txt")
    mlflow.log_text("2", "b.txt")
    repository = mlflow.store.artifact.artifact_repository_registry.get_artifact_repository(
        mlflow.get_artifact_uri()
    )

    repository.delete_artifacts("d")
    repository.delete_artifacts("d")

    assert [item.path for item in mlflow.MlflowClient().list_artifacts(run_id())] == ["b.txt"]


def test_a_model_is_logged_registered_and_loaded(tracking: str) -> None:
    del tracking
    from sklearn.linear_model import LinearRegression

    table = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(table, [2.0, 4.0, 6.0])
    name = f"client files {os.urandom(8).hex()}"
    # Requirements are given: finding them out starts another Python.
    logged = mlflow.sklearn.log_model(
        model, name="model", registered_model_name=name, pip_requirements=["scikit-learn"]
    )

    for uri in (logged.model_uri, f"runs:/{run_id()}/model", f"models:/{name}/1"):
        loaded = mlflow.pyfunc.load_model(uri)
        assert loaded.predict(table) == pytest.approx([2.0, 4.0, 6.0])


def test_large_files_go_and_come_in_parts(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # S3 takes no part of less than 5 MiB but the last.
    del tracking
    content = os.urandom(1024) * 13_000
    (tmp_path / "large.bin").write_bytes(content)
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(MEBIBYTE))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 * MEBIBYTE))
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(2 * MEBIBYTE))

    mlflow.log_artifact(str(tmp_path / "large.bin"), "d")
    got = mlflow.artifacts.download_artifacts(
        run_id=run_id(), artifact_path="d/large.bin", dst_path=tmp_path / "got"
    )

    assert Path(got).read_bytes() == content
