"""Versions of registered models through MLflow's REST API."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.tests.registry.support import PROMPT_TAGS, Api

INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"
NOBODY = "0" * 32


def test_a_version_has_every_field_of_mlflow(api: Api) -> None:
    name = api.model()
    version = api.version(
        name, run_id="elsewhere", run_link="https://ci/1", tags=[{"key": "a", "value": "1"}]
    )
    assert version == {
        "name": name,
        "version": "1",
        "creation_timestamp": version["creation_timestamp"],
        "last_updated_timestamp": version["creation_timestamp"],
        "current_stage": "None",
        "description": "",
        "source": "s3://bucket/model",
        "run_id": "elsewhere",
        "run_link": "https://ci/1",
        "status": "READY",
        "tags": [{"key": "a", "value": "1"}],
    }
    assert api.ok("GET", "model-versions/get", name=name, version="01")["model_version"] == version
    assert api.ok("GET", "model-versions/get-download-uri", name=name, version="1") == {
        "artifact_uri": "s3://bucket/model"
    }


def test_a_description_is_set_emptied_and_taken_away(api: Api) -> None:
    name = api.model()
    api.version(name)
    for given, shown in (({"description": "d"}, "d"), ({"description": ""}, ""), ({}, None)):
        answer = api.ok("PATCH", "model-versions/update", name=name, version="1", **given)["model_version"]
        assert answer.get("description") == shown
        assert api.ok("GET", "model-versions/get", name=name, version="1")["model_version"] == answer


def test_numbers_are_not_used_again(api: Api) -> None:
    name = api.model()
    for number in ("1", "2"):
        assert api.version(name)["version"] == number
    api.ok("DELETE", "model-versions/delete", name=name, version="2")
    assert api.refused("DELETE", "model-versions/delete", name=name, version="2")[:2] == (404, MISSING)
    assert api.version(name)["version"] == "3"
    api.ok("DELETE", "registered-models/delete", name=name)
    assert api.model() == name
    assert api.version(name)["version"] == "1"


@pytest.mark.parametrize(
    ("version", "status", "code"),
    [
        ("", 400, INVALID),
        ("x", 400, INVALID),
        ("1.0", 400, INVALID),
        ("0", 404, MISSING),
        ("-1", 404, MISSING),
        ("2", 404, MISSING),
        ("9" * 20, 404, MISSING),
    ],
)
def test_versions_that_are_not_there(api: Api, version: str, status: int, code: str) -> None:
    name = api.model()
    api.version(name)
    assert api.refused("GET", "model-versions/get", name=name, version=version)[:2] == (status, code)
    assert api.refused("PATCH", "model-versions/update", name=name, version=version)[:2] == (status, code)


def test_tags_of_versions(api: Api) -> None:
    name = api.model()
    api.version(name)
    api.ok("POST", "model-versions/set-tag", name=name, version="1", key="k", value="v")
    assert api.ok("GET", "model-versions/get", name=name, version="1")["model_version"]["tags"] == [
        {"key": "k", "value": "v"}
    ]
    for _ in range(2):
        api.ok("DELETE", "model-versions/delete-tag", name=name, version="1", key="k")
    assert "tags" not in api.ok("GET", "model-versions/get", name=name, version="1")["model_version"]
    refused = api.refused("POST", "model-versions/set-tag", name=name, version="7", key="k", value="v")
    assert refused == (404, MISSING, f"Model Version (name={name}, version=7) not found")


@pytest.mark.parametrize(
    "source",
    [
        "/tmp/model",
        "model",
        "file:///tmp/model",
        "s3://bucket",
        "s3://bucket/a/../b",
        "s3://bucket/%252e%252e/b",
        "http://host/a",
        "ftp://host/a",
        f"runs:/{NOBODY}/model",
        "mlflow-artifacts:/0/other/artifacts/model",
        f"models:/m-{NOBODY}",
        "models://host/a/1",
        "models:/",
        "s3://[broken/a",
    ],
)
def test_sources_that_mlflow_refuses(api: Api, source: str) -> None:
    name = api.model()
    status, code, text = api.refused("POST", "model-versions/create", name=name, source=source)
    assert (status, code) == (400, INVALID)
    assert "source" in text


def test_a_source_of_ours_belongs_to_the_run_that_is_named(api: Api) -> None:
    name, (run_id, uri) = api.model(), api.run()
    assert api.version(name, f"runs:/{run_id}/model", run_id=run_id)["source"] == f"runs:/{run_id}/model"
    assert api.version(name, f"{uri}/model", run_id=run_id)["run_id"] == run_id
    for source in (f"{uri}/../x", f"{uri}2/model", "mlflow-artifacts:/elsewhere"):
        assert api.refused("POST", "model-versions/create", name=name, source=source, run_id=run_id)[0] == 400
    for source in (f"runs:/{run_id}/model", f"{uri}/model"):
        refused = api.refused("POST", "model-versions/create", name=name, source=source, run_id=NOBODY)
        assert refused[:2] == (400, INVALID)


def test_a_version_of_a_logged_model_knows_its_run_and_files_and_the_model_knows_it(api: Api) -> None:
    name, (run_id, _) = api.model(), api.run()
    created = api.ok("POST", "logged-models", experiment_id="0", name="lm", source_run_id=run_id)
    info = created["model"]["info"]
    model_id = info["model_id"]
    version = api.version(name, f"models:/{model_id}", model_id=model_id)
    assert version["run_id"] == run_id
    assert api.ok("GET", "model-versions/get-download-uri", name=name, version="1") == {
        "artifact_uri": info["artifact_uri"]
    }
    api.version(name, f"{info['artifact_uri']}/sub", model_id=model_id)
    tags = api.ok("GET", f"logged-models/{model_id}")["model"]["info"]["tags"]
    noted = f'[{{"name": "{name}", "version": 1}}, {{"name": "{name}", "version": 2}}]'
    assert {"key": "mlflow.modelVersions", "value": noted} in tags
    refused = [
        {"source": f"models:/{model_id}"},
        {"source": f"models:/{model_id}", "model_id": f"m-{NOBODY}"},
        {"source": f"runs:/{run_id}/m", "run_id": run_id, "model_id": model_id},
        {"source": "mlflow-artifacts:/0/x", "model_id": model_id},
    ]
    for fields in refused:
        assert api.refused("POST", "model-versions/create", name=name, **fields)[:2] == (400, INVALID)
    unknown = {"source": "s3://b/x", "model_id": f"m-{NOBODY}"}
    assert api.refused("POST", "model-versions/create", name=name, **unknown)[:2] == (404, MISSING)


def test_a_version_of_a_version_is_a_copy_of_it(api: Api) -> None:
    name, copies = api.model(), api.model("-copies")
    api.version(name, run_id="elsewhere")
    api.ok("POST", "registered-models/alias", name=name, alias="champion", version="1")
    for source in (f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}/latest"):
        copy = api.version(copies, source)
        assert (copy["source"], copy["run_id"]) == (f"models:/{name}/1", "elsewhere")
    assert api.ok("GET", "model-versions/get-download-uri", name=copies, version="2") == {
        "artifact_uri": "s3://bucket/model"
    }
    refused = api.refused(
        "POST", "model-versions/create", name=copies, source=f"models:/{name}/1", run_id="other"
    )
    assert refused[:2] == (400, INVALID)
    for source in (f"models:/{name}/9", f"models:/{api.unique}-none/1", f"models:/{name}/Production"):
        assert api.refused("POST", "model-versions/create", name=copies, source=source)[:2] == (404, MISSING)


def test_prompts_have_no_files(api: Api) -> None:
    name = api.model(tags=PROMPT_TAGS[:1])
    version = api.version(name, "dummy-source", tags=PROMPT_TAGS, description="first")
    assert version["description"] == "first"
    status, code, text = api.refused(
        "POST", "model-versions/create", name=name, source="s3://b/x", tags=PROMPT_TAGS
    )
    assert (status, code) == (400, INVALID)
    assert "Invalid prompt source" in text
    copied = api.refused("POST", "model-versions/create", name=api.model("-m"), source=f"models:/{name}/1")
    assert "Prompt versions cannot be used" in copied[2]


def test_a_search_of_versions(api: Api) -> None:
    name, prompt = api.model(), api.model("-p", tags=PROMPT_TAGS[:1])
    for number in range(3):
        api.version(name, run_id=f"r{number % 2}", tags=[{"key": "n", "value": str(number)}])
    api.version(prompt, "dummy-source", tags=PROMPT_TAGS)
    api.ok("POST", "registered-models/alias", name=name, alias="a", version="1")
    mine = f"name LIKE '{api.unique}%'"

    def found(filter_text: str, **query: Any) -> list[str]:
        page = api.ok("GET", "model-versions/search", filter=filter_text, **query)
        return [version["version"] for version in page.get("model_versions", [])]

    assert found(mine) == ["3", "2", "1"]
    assert found(mine, order_by="version_number ASC") == ["1", "2", "3"]
    assert found(f"{mine} AND run_id IN ('r1')") == ["2"]
    assert found(f"{mine} AND tags.n != '0'") == ["3", "2"]
    assert found(f"{mine} AND version_number >= '2' AND source_path LIKE 's3:%'") == ["3", "2"]
    assert found(f"tags.`mlflow.prompt.is_prompt` = 'true' AND {mine}") == ["1"]
    first = api.ok("GET", "model-versions/search", filter=mine, max_results=2)
    assert len(first["model_versions"]) == 2
    assert found(mine, max_results=2, page_token=first["next_page_token"]) == ["1"]
    # Searches do not tell aliases (MLflow).
    every = api.ok("GET", "model-versions/search", filter=mine)["model_versions"]
    assert not any("aliases" in version for version in every)


@pytest.mark.parametrize(
    "query",
    [
        {"max_results": 0},
        {"max_results": 200_001},
        {"filter": "stage = 'Staging'"},
        {"filter": "version_number LIKE '1'"},
        {"filter": "version_number = 1.5"},
        {"order_by": "run_id"},
        {"page_token": "no token"},
    ],
)
def test_searches_of_versions_that_mlflow_refuses(api: Api, query: dict[str, Any]) -> None:
    assert api.refused("GET", "model-versions/search", **query)[:2] == (400, INVALID)
