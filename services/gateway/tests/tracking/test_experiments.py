"""Experiments through MLflow's REST API."""

import uuid

import pytest

from services.gateway.tests.tracking.support import Rest, pairs, refusal

INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"
NOBODYS = "999999999"


def test_an_experiment_is_created_and_read_by_id_and_by_name(rest: Rest) -> None:
    name = uuid.uuid4().hex
    created = rest.experiment(name, tags=[{"key": "team", "value": "vision"}, {"key": "empty"}])
    found = rest.get("experiments/get", experiment_id=created)["experiment"]
    assert found == rest.get("experiments/get-by-name", experiment_name=name)["experiment"]
    assert found["artifact_location"] == f"mlflow-artifacts:/{created}"
    assert (found["lifecycle_stage"], found["workspace"]) == ("active", "default")
    assert found["creation_time"] == found["last_update_time"] > 0
    assert pairs(found["tags"]) == {"team": "vision", "empty": ""}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "Missing value for required parameter 'name'"),
        ({"name": ""}, "Missing value for required parameter 'name'"),
        ({"name": 5}, "Invalid value 5 for parameter 'name' supplied:  Hint: Value was of type 'int'"),
        ({"name": "n" * 501}, "exceeds the maximum length of 500 characters"),
        ({"name": "x", "tags": 5}, "Invalid value 5 for parameter 'tags'"),
        ({"name": "x", "tags": [{"value": "v"}]}, "Invalid value \"\" for parameter 'key'"),
        ({"name": "x", "tags": [{"key": "k", "value": 5}]}, "value"),
        ({"name": "x", "tags": [{"key": "k", "value": "v" * 20_001}]}, "maximum length of 20000"),
        ({"name": "x", "artifact_location": "https://host/x"}, "cannot use the 'https' scheme"),
        ({"name": "x", "artifact_location": "s3://b/x#f"}, "can't include fragments or params"),
        ({"name": "x", "artifact_location": "runs:/abc/x"}, "cannot be a runs:/ URI"),
        ({"name": "x", "artifact_location": "s3://b/c", "artifactLocation": "s3://b/d"}, "specifies both"),
        ({"name": "\ud800"}, "name"),
    ],
)
def test_a_wrong_experiment_is_refused_in_mlflows_words(
    rest: Rest, body: dict[str, object], text: str
) -> None:
    status, code, message = rest.refused("experiments/create", **body)
    assert (status, code) == (400, INVALID)
    assert text in message


def test_a_name_is_taken_once_also_by_a_deleted_experiment(rest: Rest) -> None:
    name = uuid.uuid4().hex
    taken = (400, "RESOURCE_ALREADY_EXISTS", f"Experiment(name={name}) already exists.")
    created = rest.experiment(name)
    assert rest.refused("experiments/create", name=name) == taken
    rest.post("experiments/delete", experiment_id=created)
    assert rest.refused("experiments/create", name=name) == taken
    other = rest.experiment()
    assert rest.refused("experiments/update", experiment_id=other, new_name=name)[:2] == (400, "BAD_REQUEST")


def test_requests_are_read_as_leniently_as_mlflow_reads_them(rest: Rest) -> None:
    json_type = {"Content-Type": "application/json; charset=utf-8"}
    twice = '"{\\"name\\": \\"' + uuid.uuid4().hex + '\\", \\"artifactLocation\\": \\"s3://b/c\\"}"'
    created = rest.send("POST", "experiments/create", data=twice, headers=json_type).json()["experiment_id"]
    location = rest.get("experiments/get", experiment_id=created)["experiment"]["artifact_location"]
    assert location == "s3://b/c"
    for body in ("", "null", "{", '{"unknown": 1}'):
        answer = rest.send("POST", "experiments/create", data=body, headers=json_type)
        assert "Missing value for required parameter 'name'" in refusal(answer)[2]
    for body in ("[]", "5"):
        answer = rest.send("POST", "experiments/create", data=body, headers=json_type)
        assert refusal(answer)[:2] == (400, INVALID)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_must_be_called_json(rest: Rest, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = rest.send("POST", "experiments/create", data=b'{"name": "x"}', headers=headers)
    assert refusal(answer)[:2] == (400, INVALID)
    assert "Content-Type" in refusal(answer)[2]


@pytest.mark.parametrize(
    ("experiment_id", "outcome"),
    [
        ("abc", (400, INVALID, "Invalid experiment ID 'abc'. Experiment ID must be a valid integer.")),
        ("1.5", (400, INVALID, "Invalid experiment ID '1.5'. Experiment ID must be a valid integer.")),
        (NOBODYS, (404, MISSING, f"No Experiment with id={NOBODYS} exists")),
        ("-1", (404, MISSING, "No Experiment with id=-1 exists")),
        ("9" * 40, (404, MISSING, f"No Experiment with id={'9' * 40} exists")),
    ],
)
def test_an_id_that_is_nobodys_is_refused(
    rest: Rest, experiment_id: str, outcome: tuple[int, str, str]
) -> None:
    assert rest.refused("experiments/get", "GET", experiment_id=experiment_id) == outcome
    for change in ("delete", "restore"):
        assert rest.refused(f"experiments/{change}", experiment_id=experiment_id) == outcome
    assert rest.refused("experiments/update", experiment_id=experiment_id, new_name="n") == outcome
    tag = {"experiment_id": experiment_id, "key": "k"}
    assert rest.refused("experiments/set-experiment-tag", **tag) == outcome
    assert rest.refused("experiments/delete-experiment-tag", **tag) == outcome


def test_the_id_may_come_with_spaces_and_in_the_body_of_a_get(rest: Rest) -> None:
    created = rest.experiment()
    assert rest.get("experiments/get", experiment_id=f" {created}")["experiment"]["experiment_id"] == created
    answer = rest.send("GET", "experiments/get", {"experiment_id": created})
    assert answer.json()["experiment"]["experiment_id"] == created


def test_a_name_that_nobody_has_is_missing(rest: Rest) -> None:
    outcome = rest.refused("experiments/get-by-name", "GET", experiment_name="nobody's")
    assert outcome == (404, MISSING, "Could not find experiment with name 'nobody's'")


def test_a_deleted_experiment_is_read_only_until_it_is_restored_with_its_runs(rest: Rest) -> None:
    created = rest.experiment()
    run_id = rest.run(created)
    assert rest.refused("experiments/restore", experiment_id=created)[0] == 404
    assert rest.post("experiments/delete", experiment_id=created) == {}
    assert rest.refused("experiments/delete", experiment_id=created)[0] == 404
    stage = rest.get("experiments/get", experiment_id=created)["experiment"]["lifecycle_stage"]
    assert stage == "deleted"
    assert rest.get("runs/get", run_id=run_id)["run"]["info"]["lifecycle_stage"] == "deleted"
    text = f"The experiment {created} must be in the 'active' state. Current state is deleted."
    tag = {"experiment_id": created, "key": "k"}
    assert rest.refused("experiments/set-experiment-tag", **tag) == (400, INVALID, text)
    assert rest.refused("experiments/delete-experiment-tag", **tag) == (400, INVALID, text)
    assert rest.refused("runs/create", experiment_id=created) == (400, INVALID, text)
    renaming = rest.refused("experiments/update", experiment_id=created, new_name="n")
    assert renaming == (500, "INVALID_STATE", "Cannot rename a non-active experiment.")
    assert rest.post("experiments/restore", experiment_id=created) == {}
    assert rest.get("runs/get", run_id=run_id)["run"]["info"]["lifecycle_stage"] == "active"


def test_an_experiment_is_renamed_also_to_its_own_name(rest: Rest) -> None:
    created, name = rest.experiment(), uuid.uuid4().hex
    for _ in range(2):
        assert rest.post("experiments/update", experiment_id=created, new_name=name) == {}
    assert rest.get("experiments/get", experiment_id=created)["experiment"]["name"] == name


def test_tags_are_set_and_deleted(rest: Rest) -> None:
    created = rest.experiment()
    for value in ("1", "2"):
        body = {"experiment_id": created, "key": "k", "value": value}
        assert rest.post("experiments/set-experiment-tag", **body) == {}
    tags = rest.get("experiments/get", experiment_id=created)["experiment"]["tags"]
    assert tags == [{"key": "k", "value": "2"}]
    assert rest.post("experiments/delete-experiment-tag", experiment_id=created, key="k") == {}
    again = rest.refused("experiments/delete-experiment-tag", experiment_id=created, key="k")
    assert again == (404, MISSING, f"No tag with name: k in experiment with id {created}")
    long = {"experiment_id": created, "key": "k", "value": "v" * 20_001}
    assert rest.refused("experiments/set-experiment-tag", **long)[:2] == (400, INVALID)


def test_an_experiment_has_at_most_fifty_custom_views(rest: Rest) -> None:
    views = [{"key": f"mlflow.customView.view{number}", "value": "{}"} for number in range(51)]
    assert "custom view" in rest.refused("experiments/create", name=uuid.uuid4().hex, tags=views)[2]
    created = rest.experiment(tags=views[:50])
    outcome = rest.refused("experiments/set-experiment-tag", experiment_id=created, **views[50])
    assert outcome[:2] == (400, INVALID)
    assert f"for experiment {created}; the maximum number" in outcome[2]
    assert rest.post("experiments/set-experiment-tag", experiment_id=created, **views[49]) == {}


def test_a_search_pages_through_what_it_finds(rest: Rest) -> None:
    prefix = uuid.uuid4().hex
    for number in range(3):
        rest.experiment(f"{prefix}-{number}", tags=[{"key": "even", "value": str(number % 2 == 0)}])
    search = {"filter": f"name LIKE '{prefix}%'", "order_by": ["name DESC"], "max_results": 2}
    first = rest.post("experiments/search", **search)
    assert [item["name"][-1] for item in first["experiments"]] == ["2", "1"]
    rest_of_it = rest.post("experiments/search", **search, page_token=first["next_page_token"])
    assert [item["name"][-1] for item in rest_of_it["experiments"]] == ["0"]
    assert "next_page_token" not in rest_of_it
    twice = rest.post("experiments/search", **{**search, "order_by": ["name", "name DESC"]})
    assert [item["name"][-1] for item in twice["experiments"]] == ["0", "1"]
    search["filter"] += " AND tags.even = 'True'"
    by_query = rest.get("experiments/search", **search)
    assert [item["name"][-1] for item in by_query["experiments"]] == ["2", "0"]
    search["filter"] += " AND name = 'nobody'"
    assert rest.post("experiments/search", **search) == {}


def test_a_search_shows_the_view_that_is_asked_for(rest: Rest) -> None:
    prefix = uuid.uuid4().hex
    kept, deleted = rest.experiment(f"{prefix}-kept"), rest.experiment(f"{prefix}-deleted")
    rest.post("experiments/delete", experiment_id=deleted)
    views = {"ACTIVE_ONLY": {kept}, "DELETED_ONLY": {deleted}, "ALL": {kept, deleted}, "3": {kept, deleted}}
    # An unknown word is as if nothing were given (MLflow).
    for view, expected in {**views, "SOME": {kept}}.items():
        found = rest.post(
            "experiments/search", filter=f"name LIKE '{prefix}%'", max_results=5, view_type=view
        )
        assert {item["experiment_id"] for item in found["experiments"]} == expected


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ({}, "Invalid value 0 for parameter 'max_results' supplied. It must be a positive integer"),
        ({"max_results": 50_001}, "It must be at most 50000"),
        ({"max_results": "many"}, "Invalid value \"many\" for parameter 'max_results'"),
        ({"max_results": [1]}, "Invalid value [1] for parameter 'max_results'"),
        ({"filter": "foo = 'x'"}, "Invalid attribute key 'foo' specified"),
        ({"filter": "name = 'a' OR name = 'b'"}, "Invalid clause(s) in filter string"),
        ({"filter": "name > 'a'"}, "Invalid comparator '>'"),
        ({"filter": "name IS NULL"}, "only supported for tags"),
        ({"filter": "creation_time > 1.5"}, "Invalid value for numeric attribute 'creation_time': '1.5'"),
        ({"filter": "experiment_id = 'x'"}, "Invalid experiment ID 'x'"),
        ({"filter": "experiment_id LIKE '1%'"}, "Invalid comparator for experiment_id: LIKE"),
        ({"filter": "   "}, "Could not be parsed"),
        ({"order_by": ["foo"]}, "Invalid attribute key 'foo' specified"),
        ({"order_by": ["name UP"]}, "Invalid ordering key"),
        ({"order_by": ["tags.k"]}, "Invalid order_by entity: tag"),
        ({"order_by": "name"}, "Invalid value \"name\" for parameter 'order_by'"),
        ({"page_token": "nonsense"}, "page_token"),
    ],
)
def test_a_wrong_search_is_refused_in_mlflows_words(rest: Rest, search: dict[str, object], text: str) -> None:
    body = search if "max_results" in search or not search else {"max_results": 1, **search}
    status, code, message = rest.refused("experiments/search", **body)
    assert (status, code) == (400, INVALID)
    assert text in message


def test_a_token_belongs_to_its_search(rest: Rest) -> None:
    rest.experiment(), rest.experiment()
    token = rest.post("experiments/search", max_results=1)["next_page_token"]
    other = rest.refused("experiments/search", max_results=1, page_token=token, filter="name != 'x'")
    assert other[:2] == (400, INVALID)


def test_datasets_of_experiments_are_listed_with_their_contexts(rest: Rest) -> None:
    created = rest.experiment()
    run_id = rest.run(created)
    context = [{"key": "mlflow.data.context", "value": "train"}]
    dataset = {"digest": "1", "source_type": "local", "source": "s"}
    datasets = [{"dataset": {"name": "a", **dataset}, "tags": context}, {"dataset": {"name": "b", **dataset}}]
    rest.post("runs/log-inputs", run_id=run_id, datasets=datasets)
    path = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    found = rest.post(path, experiment_ids=[created, NOBODYS])["dataset_summaries"]
    assert sorted(found, key=lambda item: item["name"]) == [
        {"experiment_id": created, "name": "a", "digest": "1", "context": "train"},
        {"experiment_id": created, "name": "b", "digest": "1"},
    ]
    assert rest.post(path, experiment_ids=[NOBODYS]) == {}
    assert "at least one experiment_id" in rest.refused(path)[2]
    assert "more than 20 experiment_ids" in rest.refused(path, experiment_ids=[created] * 21)[2]
    assert rest.refused(path, experiment_ids=["x"])[:2] == (400, INVALID)
    # Only the web UI's twin is there.
    assert rest.send("POST", "experiments/search-datasets", {"experiment_ids": [created]}).status_code == 404
