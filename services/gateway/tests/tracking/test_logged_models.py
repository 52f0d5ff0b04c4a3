"""Logged models through MLflow's REST API."""

from typing import Any

import pytest

from services.gateway.tests.tracking.support import Rest, pairs

INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"
NOBODYS = "m-" + "0" * 32


@pytest.fixture
def experiment_id(rest: Rest) -> str:
    return rest.experiment()


def read(rest: Rest, model_id: str, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = rest.get(f"logged-models/{model_id}", **query)["model"]
    return found


def change(rest: Rest, method: str, path: str, **body: Any) -> dict[str, Any]:
    answer = rest.send(method, f"logged-models/{path}", body)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def test_a_model_is_created_made_ready_and_read(rest: Rest, experiment_id: str) -> None:
    body = {
        "experiment_id": experiment_id,
        "name": "classifier",
        "model_type": "Agent",
        "source_run_id": "a run",
        "params": [{"key": "lr", "value": "0.1"}],
        "tags": [{"key": "team", "value": "vision"}],
    }
    created = rest.post("logged-models", **body)["model"]
    info, model_id = created["info"], created["info"]["model_id"]
    assert info["artifact_uri"] == f"mlflow-artifacts:/{experiment_id}/models/{model_id}/artifacts"
    assert (info["status"], info["model_type"], info["source_run_id"]) == (
        "LOGGED_MODEL_PENDING",
        "Agent",
        "a run",
    )
    assert created["data"] == {"params": [{"key": "lr", "value": "0.1"}]}
    ready = change(rest, "PATCH", model_id, model_id=model_id, status="LOGGED_MODEL_READY")["model"]
    assert ready == read(rest, model_id)
    assert ready["info"]["status"] == "LOGGED_MODEL_READY"
    for number, name in ((3, "LOGGED_MODEL_UPLOAD_FAILED"), ("2", "LOGGED_MODEL_READY")):
        assert (
            change(rest, "PATCH", model_id, model_id=model_id, status=number)["model"]["info"]["status"]
            == name
        )


def test_a_model_without_a_name_gets_one(rest: Rest, experiment_id: str) -> None:
    model_id = rest.model(experiment_id)
    info = read(rest, model_id)["info"]
    assert info["name"]
    assert (info["model_type"], info["source_run_id"]) == ("", "")
    assert "tags" not in info


@pytest.mark.parametrize(
    ("body", "outcome", "text"),
    [
        ({"experiment_id": ""}, (400, INVALID), "Missing value for required parameter 'experiment_id'"),
        ({"experiment_id": "x"}, (400, INVALID), "Invalid experiment ID 'x'"),
        ({"experiment_id": "999999999"}, (404, MISSING), "No Experiment with id=999999999 exists"),
        ({"name": "a/b"}, (400, INVALID), "Invalid model name ('a/b') provided"),
        ({"name": 5}, (400, INVALID), "Invalid value 5 for parameter 'name'"),
        ({"params": [{"key": "k"}, {"key": "k"}]}, (400, "BAD_REQUEST"), "twice"),
        ({"tags": [{"key": "k"}, {"key": "k"}]}, (400, "BAD_REQUEST"), "twice"),
        ({"params": 5}, (400, INVALID), "Invalid value 5 for parameter 'params'"),
    ],
)
def test_a_wrong_model_is_refused(
    rest: Rest, experiment_id: str, body: dict[str, Any], outcome: tuple[int, str], text: str
) -> None:
    status, code, message = rest.refused("logged-models", **{"experiment_id": experiment_id, **body})
    assert (status, code) == outcome
    assert text in message


def test_an_unknown_model_is_missing(rest: Rest) -> None:
    for model_id in (NOBODYS, "m-x", "x"):
        outcome = (404, MISSING, f"Logged model with ID '{model_id}' not found.")
        path = f"logged-models/{model_id}"
        assert rest.refused(path, "GET") == outcome
        assert rest.refused(path, "DELETE") == outcome
        assert rest.refused(path, "PATCH", model_id=model_id, status=2) == outcome
        assert rest.refused(f"{path}/tags", "PATCH", tags=[{"key": "k", "value": "v"}]) == outcome
        assert rest.refused(f"{path}/tags/k", "DELETE") == outcome
        assert rest.refused(f"{path}/params", model_id=model_id, params=[{"key": "k"}]) == outcome


def test_a_status_needs_the_model_and_the_status(rest: Rest, experiment_id: str) -> None:
    model_id = rest.model(experiment_id)
    path = f"logged-models/{model_id}"
    assert "parameter 'model_id'" in rest.refused(path, "PATCH", status=2)[2]
    assert "parameter 'status'" in rest.refused(path, "PATCH", model_id=model_id)[2]


def test_tags_are_set_and_deleted(rest: Rest, experiment_id: str) -> None:
    model_id = rest.model(experiment_id, tags=[{"key": "kept", "value": "1"}])
    tags = [{"key": "a b", "value": "1"}, {"key": "a b", "value": "2"}]
    assert change(rest, "PATCH", f"{model_id}/tags", tags=tags) == {}
    assert pairs(read(rest, model_id)["info"]["tags"]) == {"kept": "1", "a b": "2"}
    assert change(rest, "DELETE", f"{model_id}/tags/a%20b") == {}
    again = rest.refused(f"logged-models/{model_id}/tags/a%20b", "DELETE")
    assert again == (404, MISSING, f"No tag with key 'a b' found for model with ID '{model_id}'.")


def test_a_param_is_written_once(rest: Rest, experiment_id: str) -> None:
    model_id = rest.model(experiment_id)
    body = {"model_id": model_id, "params": [{"key": "lr", "value": "0.1"}]}
    assert rest.post(f"logged-models/{model_id}/params", **body) == {}
    assert rest.refused(f"logged-models/{model_id}/params", **body)[:2] == (400, "BAD_REQUEST")
    assert "parameter 'model_id'" in rest.refused(f"logged-models/{model_id}/params", params=[])[2]
    assert read(rest, model_id)["data"]["params"] == [{"key": "lr", "value": "0.1"}]


def test_a_deleted_model_is_read_only_on_request(rest: Rest, experiment_id: str) -> None:
    model_id = rest.model(experiment_id)
    for _ in range(2):
        assert change(rest, "DELETE", model_id) == {}
    assert rest.refused(f"logged-models/{model_id}", "GET")[:2] == (404, MISSING)
    assert read(rest, model_id, allow_deleted="True")["info"]["model_id"] == model_id
    assert rest.post("logged-models/search", experiment_ids=[experiment_id]) == {}


@pytest.fixture
def several(rest: Rest, experiment_id: str) -> dict[str, str]:
    """Three models by name; two have been measured, one of them on two datasets."""
    run_id = rest.run(experiment_id)
    models = {
        name: rest.model(experiment_id, name=name, params=[{"key": "p", "value": str(number)}])
        for number, name in enumerate(("one", "two", "three"))
    }
    train = {"dataset_name": "train", "dataset_digest": "1"}
    for name, value, more in (("one", 0.9, train), ("one", 0.5, {}), ("two", 0.7, train)):
        step = len(more)
        metric = {
            "key": "acc",
            "value": value,
            "timestamp": 5 - step,
            "step": step,
            "model_id": models[name],
            **more,
        }
        rest.post("runs/log-batch", run_id=run_id, metrics=[metric])
    return models


def search(rest: Rest, experiment_id: str, **more: Any) -> list[str]:
    found = rest.post("logged-models/search", experiment_ids=[experiment_id], **more)
    return [model["info"]["name"] for model in found.get("models", [])]


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, ["three", "two", "one"]),
        ({"filter": "name = 'one'"}, ["one"]),
        ({"filter": "name = one"}, ["one"]),
        ({"filter": 'name = "one"'}, []),
        ({"filter": "params.p = 1"}, ["two"]),
        ({"filter": "attributes.name IN ('one', 'three') AND params.`p` LIKE '%'"}, ["three", "one"]),
        ({"filter": "metrics.acc > 0.8"}, ["one"]),
        ({"filter": "metrics.acc >= 7e-1 and status = '1'"}, ["two", "one"]),
        ({"filter": "creation_time > 0 AND name like 't%'"}, ["three", "two"]),
        (
            {"filter": "metrics.acc > 0.1", "datasets": [{"dataset_name": "train", "dataset_digest": "1"}]},
            ["two", "one"],
        ),
        ({"datasets": [{"dataset_name": "train", "dataset_digest": "2"}]}, []),
        ({"datasets": [{"dataset_name": "train"}]}, []),
        ({"order_by": [{"field_name": "name"}]}, ["one", "three", "two"]),
        ({"order_by": [{"field_name": "name", "ascending": False}]}, ["two", "three", "one"]),
        ({"order_by": [{"field_name": "metrics.acc", "ascending": False}]}, ["two", "one", "three"]),
        (
            {"order_by": [{"field_name": "metrics.acc", "ascending": False, "dataset_name": "train"}]},
            ["one", "two", "three"],
        ),
        ({"max_results": -1}, []),
    ],
)
def test_a_search_finds_what_mlflow_would_find(
    rest: Rest, experiment_id: str, several: dict[str, str], more: dict[str, Any], names: list[str]
) -> None:
    assert len(several) == 3
    assert search(rest, experiment_id, **more) == names


def test_metrics_are_told_with_their_run_and_dataset(rest: Rest, several: dict[str, str]) -> None:
    [metric] = read(rest, several["two"])["data"]["metrics"]
    run_id = metric.pop("run_id")
    assert rest.get("runs/get", run_id=run_id)["run"]["data"]["metrics"][0]["key"] == "acc"
    assert metric == {
        "key": "acc",
        "value": 0.7,
        "timestamp": 3,
        "step": 2,
        "dataset_name": "train",
        "dataset_digest": "1",
        "model_id": several["two"],
    }


def test_a_token_belongs_to_its_search(rest: Rest, experiment_id: str, several: dict[str, str]) -> None:
    body = {"experiment_ids": [experiment_id], "max_results": 2}
    first = rest.post("logged-models/search", **body)
    token = first["next_page_token"]
    second = rest.post("logged-models/search", **body, page_token=token)
    names = [model["info"]["name"] for page in (first, second) for model in page["models"]]
    assert names == list(reversed(several))
    assert "next_page_token" not in second
    for other in ({"filter": "name = 'one'"}, {"order_by": [{"field_name": "name"}]}):
        outcome = rest.refused("logged-models/search", **body, page_token=token, **other)
        assert outcome[:2] == (400, INVALID)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"experiment_ids": None}, "parameter 'experiment_ids'"),
        ({"experiment_ids": ["x"]}, "Invalid experiment ID 'x'"),
        (
            {"datasets": [{"dataset_digest": "1"}]},
            "`dataset_name` in the `datasets` clause must be specified.",
        ),
        ({"filter": "name > 'x'"}, "Invalid comparison operator for attributes.name: '>'."),
        ({"filter": "name = 'a' OR name = 'b'"}, "Expected a list of comparisons separated by 'AND'"),
        ({"filter": "metric.acc > 1"}, "Invalid entity type: 'metric'."),
        ({"filter": "metrics.acc > 'x'"}, "expected a number"),
        ({"filter": "metrics.acc > inf"}, "expected a finite number"),
        ({"filter": "name IN 'x'"}, "filter"),
        ({"filter": "name = ('x')"}, "IN and NOT IN need a list"),
        ({"filter": "name IN (x)"}, "Invalid list of values"),
        ({"filter": "foo = 'x'"}, "foo"),
        ({"filter": "   "}, "Expected a single SQL expression."),
        ({"order_by": [{"field_name": "params.p"}]}, "Only metrics are supported."),
        ({"order_by": "name"}, "parameter 'order_by'"),
        ({"page_token": "nonsense"}, "page_token"),
    ],
)
def test_a_wrong_search_is_refused(rest: Rest, experiment_id: str, body: dict[str, Any], text: str) -> None:
    status, code, message = rest.refused(
        "logged-models/search", **{"experiment_ids": [experiment_id], **body}
    )
    assert (status, code) == (400, INVALID)
    assert text in message
