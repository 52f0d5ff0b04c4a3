"""Files asked for by run, logged model or model version, as the web UI does, and its uploads."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import requests

from services.gateway.tests.artifacts.support import LARGE, PROXY

if TYPE_CHECKING:
    from services.gateway.tests.artifacts.support import Run

NOBODY = "0" * 32


def get(run: Run, at: str, /, **query: str) -> requests.Response:
    return requests.get(run.url + at, params=query, timeout=60)


def test_a_runs_files_are_listed_relative_to_its_root(run: Run) -> None:
    run.put("d/a.txt", b"12")
    run.put("b", b"")

    for name in ("run_id", "run_uuid"):
        root = get(run, "/api/2.0/mlflow/artifacts/list", **{name: run.run_id}).json()
        assert root == {
            "root_uri": f"mlflow-artifacts:/{run.root}",
            "files": [{"path": "b", "is_dir": False}, {"path": "d", "is_dir": True}],
        }
    below = get(run, "/ajax-api/2.0/mlflow/artifacts/list", run_id=run.run_id, path="d/").json()
    assert below["files"] == [{"path": "d/a.txt", "is_dir": False, "file_size": 2}]
    for nothing in ("nope", "d/a.txt"):
        answer = get(run, "/api/2.0/mlflow/artifacts/list", run_id=run.run_id, path=nothing)
        assert answer.json() == {"root_uri": f"mlflow-artifacts:/{run.root}"}


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"run_id": NOBODY}, 404, f"Run with id={NOBODY} not found"),
        ({"run_id": "x"}, 404, "Run with id=x not found"),
        ({}, 400, "Missing value for required parameter 'run_id'"),
        ({"run_id": NOBODY, "path": "../x"}, 400, "Invalid path"),
    ],
)
def test_listings_are_refused_in_mlflows_words(
    run: Run, query: dict[str, str], status: int, said: str
) -> None:
    answer = get(run, "/api/2.0/mlflow/artifacts/list", **query)
    assert answer.status_code == status
    assert said in answer.json()["message"]


@pytest.mark.parametrize("content", [b"text " * 1000, LARGE])
def test_the_ui_previews_a_file(run: Run, content: bytes) -> None:
    run.put("d/a.txt", content)
    query = {"run_uuid": run.run_id, "path": "d/a.txt"}

    answer = get(run, "/get-artifact", **query)

    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Cache-Control"] == "no-cache"
    again = requests.get(
        f"{run.url}/get-artifact", params=query, headers={"If-None-Match": answer.headers["ETag"]}, timeout=60
    )
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"path": "nope"}, 404, "No such artifact"),
        ({"path": "d"}, 400, "refers to a directory"),
        ({"path": ""}, 400, "refers to a directory"),
        ({"path": "../x"}, 400, "Invalid path"),
        ({}, 400, "path"),
        ({"run_id": NOBODY, "path": "x"}, 404, "Run with id="),
    ],
)
def test_what_cannot_be_previewed(run: Run, query: dict[str, str], status: int, said: str) -> None:
    run.put("d/a.txt", b"1")
    answer = get(run, "/get-artifact", **{"run_id": run.run_id, **query})
    assert answer.status_code == status
    assert said in answer.json()["message"]


def uploaded(run: Run, content: bytes, **query: str) -> requests.Response:
    at = f"{run.url}/ajax-api/2.0/mlflow/upload-artifact"
    return requests.post(at, params=query, data=content, headers={"Content-Type": "text/plain"}, timeout=60)


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_the_ui_uploads_a_file(run: Run, content: bytes) -> None:
    answer = uploaded(run, content, run_uuid=run.run_id, path="up/f.txt")
    assert (answer.status_code, answer.content) == (200, b"")
    assert requests.get(run.at("up/f.txt"), timeout=60).content == content


@pytest.mark.parametrize(
    ("content", "query", "status", "said"),
    [
        (b"", {"path": "a"}, 400, "Request must specify data."),
        (b"x", {}, 400, "Request must specify path."),
        (b"x", {"path": "a", "run_uuid": ""}, 400, "Request must specify run_uuid."),
        (b"x", {"path": "../a"}, 400, "Invalid path"),
        (b"x", {"path": "a", "run_uuid": NOBODY}, 404, f"Run with id={NOBODY} not found"),
        (bytes(10 * 1024 * 1024 + 1), {"path": "a"}, 400, "Max size is 10MB."),
    ],
)
def test_uploads_are_refused_in_mlflows_words(
    run: Run, content: bytes, query: dict[str, str], status: int, said: str
) -> None:
    answer = uploaded(run, content, **{"run_uuid": run.run_id, **query})
    assert answer.status_code == status
    assert said in answer.json()["message"]
    assert run.names() == []


def new_model(run: Run) -> str:
    body: dict[str, Any] = {"experiment_id": run.experiment_id, "name": "m"}
    answer = requests.post(f"{run.url}/api/2.0/mlflow/logged-models", json=body, timeout=60)
    model_id: str = answer.json()["model"]["info"]["model_id"]
    root = f"{run.url}{PROXY}/{run.experiment_id}/models/{model_id}/artifacts"
    for path, content in (("MLmodel", b"x: 1"), ("data/weights", LARGE)):
        assert requests.put(f"{root}/{path}", data=content, timeout=60).status_code == 200
    return model_id


def test_a_logged_models_files(run: Run) -> None:
    model_id = new_model(run)
    directories = f"/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories"
    files = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"

    root = get(run, directories).json()
    below = get(run, directories, artifact_directory_path="data").json()

    assert root["root_uri"] == f"mlflow-artifacts:/{run.experiment_id}/models/{model_id}/artifacts"
    assert [file["path"] for file in root["files"]] == ["MLmodel", "data"]
    assert [file["path"] for file in below["files"]] == ["data/weights"]
    assert get(run, files, artifact_file_path="data/weights").content == LARGE
    assert get(run, files).json()["error_code"] == "BAD_REQUEST"
    assert get(run, files, artifact_file_path="nope").status_code == 404
    assert get(run, files, artifact_file_path="data").status_code == 400
    nobody = directories.replace(model_id, f"m-{NOBODY}")
    assert get(run, nobody).json()["message"] == f"Logged model with ID 'm-{NOBODY}' not found."


def test_a_model_versions_files(run: Run) -> None:
    model_id, name = new_model(run), f"files {uuid.uuid4().hex}"
    api = f"{run.url}/api/2.0/mlflow"
    requests.post(f"{api}/registered-models/create", json={"name": name}, timeout=60)
    body = {"name": name, "source": f"models:/{model_id}", "model_id": model_id}
    created = requests.post(f"{api}/model-versions/create", json=body, timeout=60)
    assert created.status_code == 200, created.text

    at = "/model-versions/get-artifact"
    assert get(run, at, name=name, version="1", path="MLmodel").content == b"x: 1"
    assert get(run, at, name=name, version="1", path="data/weights").content == LARGE
    assert get(run, at, name=name, version="1", path="nope").status_code == 404
    assert get(run, at, name=name, version="9", path="MLmodel").status_code == 404
    assert get(run, at, name=name, version="x", path="MLmodel").status_code == 400
    assert get(run, at, name=name, version="1").status_code == 400
