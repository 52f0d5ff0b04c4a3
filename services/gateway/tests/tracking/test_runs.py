"""Runs through MLflow's REST API, but for the hot writes."""

import json
from typing import Any

import pytest

from services.gateway.tests.tracking.support import Rest, pairs

INVALID = "INVALID_PARAMETER_VALUE"
MISSING = "RESOURCE_DOES_NOT_EXIST"
NOBODYS = "0" * 32

MODEL = {
    "artifact_path": "m",
    "utc_time_created": "2026-01-01",
    "run_id": "r",
    "flavors": {"f": {"config": {}, "x": 1}},
}
DATASET = {"name": "d", "digest": "1", "source_type": "local", "source": "s"}

WRITES: list[tuple[str, dict[str, Any]]] = [
    ("update", {"status": "FINISHED"}),
    ("log-parameter", {"key": "k", "value": "v"}),
    ("set-tag", {"key": "k", "value": "v"}),
    ("set-tag", {"key": "mlflow.runName", "value": ""}),
    ("delete-tag", {"key": "k"}),
    ("log-inputs", {"datasets": [{"dataset": DATASET}]}),
    ("outputs", {"models": [{"model_id": "m-1"}]}),
    ("outputs", {"models": []}),
    ("log-model", {"model_json": json.dumps(MODEL)}),
]


@pytest.fixture
def experiment_id(rest: Rest) -> str:
    return rest.experiment()


@pytest.fixture
def run_id(rest: Rest, experiment_id: str) -> str:
    return rest.run(experiment_id, run_name="first")


def read(rest: Rest, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = rest.get("runs/get", run_id=run_id)["run"]
    return found


def test_a_run_is_found_by_either_name_of_its_id(rest: Rest, run_id: str) -> None:
    expected = read(rest, run_id)
    assert rest.get("runs/get", run_uuid=run_id)["run"] == expected
    assert rest.get("runs/get", run_id=run_id, run_uuid=NOBODYS)["run"] == expected
    assert rest.send("GET", "runs/get", {"run_id": run_id}).json()["run"] == expected
    assert rest.get("/ajax-api/2.0/mlflow/runs/get", run_id=run_id)["run"] == expected
    assert expected["info"]["run_uuid"] == run_id
    assert (expected["inputs"], expected["outputs"]) == ({}, {})


@pytest.mark.parametrize("run_id", ["x", NOBODYS, "A" * 32, "🦊"])
def test_an_unknown_run_is_missing(rest: Rest, run_id: str) -> None:
    outcome = (404, MISSING, f"Run with id={run_id} not found")
    assert rest.refused("runs/get", "GET", run_id=run_id) == outcome
    for change in ("delete", "restore"):
        assert rest.refused(f"runs/{change}", run_id=run_id) == outcome
    for path, body in WRITES:
        if path != "log-inputs" or run_id != "🦊":
            assert rest.refused(f"runs/{path}", run_id=run_id, **body) == outcome


def test_an_id_is_required(rest: Rest) -> None:
    text = "Missing value for required parameter 'run_id'. See the API docs for more information"
    paths = {"delete", "restore", *(path for path, _ in WRITES)}
    for path in sorted(paths):
        assert rest.refused(f"runs/{path}")[2].startswith(text)
    assert rest.refused("runs/get", "GET", run_id="")[2].startswith(text)


def test_a_deleted_run_is_read_only_until_it_is_restored(rest: Rest, experiment_id: str, run_id: str) -> None:
    for _ in range(2):
        assert rest.post("runs/delete", run_id=run_id) == {}
    text = f"The run {run_id} must be in the 'active' state. Current state is deleted."
    for path, body in WRITES:
        assert rest.refused(f"runs/{path}", run_id=run_id, **body) == (400, INVALID, text), path
    assert read(rest, run_id)["info"]["lifecycle_stage"] == "deleted"
    found = rest.post("runs/search", experiment_ids=[experiment_id], run_view_type="DELETED_ONLY")["runs"]
    assert [run["info"]["run_id"] for run in found] == [run_id]
    assert rest.post("runs/search", experiment_ids=[experiment_id]) == {}
    for _ in range(2):
        assert rest.post("runs/restore", run_id=run_id) == {}
    assert read(rest, run_id)["info"]["lifecycle_stage"] == "active"


def test_an_update_changes_what_it_names(rest: Rest, run_id: str) -> None:
    def update(**body: Any) -> dict[str, Any]:
        info: dict[str, Any] = rest.post("runs/update", run_id=run_id, **body)["run_info"]
        assert info == read(rest, run_id)["info"]
        return info

    assert update(status="FINISHED", end_time=7)["end_time"] == 7
    # A status alone keeps the end, and what cannot be read as a status changes nothing (MLflow).
    assert (update(status="RUNNING")["end_time"], update(status="DONE")["status"]) == (7, "RUNNING")
    assert update(status=4)["status"] == "FAILED"
    assert update(end_time="9")["end_time"] == 9
    assert "end_time" not in update(end_time=0)
    assert update(run_name="second")["run_name"] == "second"
    assert update(run_name="")["run_name"] == "second"
    assert pairs(read(rest, run_id)["data"]["tags"])["mlflow.runName"] == "second"
    for body in ({"end_time": "soon"}, {"end_time": 1.5}, {"end_time": 2**63}, {"run_name": 5}):
        assert rest.refused("runs/update", run_id=run_id, **body)[:2] == (400, INVALID)


def test_a_param_never_changes(rest: Rest, run_id: str) -> None:
    param = {"run_id": run_id, "key": "lr"}
    for _ in range(2):
        assert rest.post("runs/log-parameter", **param, value="0.1") == {}
    status, code, text = rest.refused("runs/log-parameter", **param, value="0.2")
    assert (status, code) == (400, INVALID)
    assert text == (
        "Changing param values is not allowed. Param with key='lr' was already logged with value='0.1' for run "
        f"ID='{run_id}'. Attempted logging new value '0.2'."
    )
    assert rest.post("runs/log-parameter", run_uuid=run_id, key="nothing") == {}
    assert rest.post("runs/log-parameter", run_id=run_id, key="long", value="v" * 6_001) == {}
    params = pairs(read(rest, run_id)["data"]["params"])
    assert params == {"lr": "0.1", "nothing": "", "long": "v" * 6_000}


@pytest.mark.parametrize("path", ["log-parameter", "set-tag"])
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("", "Missing value for required parameter 'key'"),
        (5, "Invalid value 5 for parameter 'key'"),
        ("k" * 251, "exceeds the maximum length of 250 characters"),
        ("a$", "Names may only contain alphanumerics"),
        ("../a", "must not resolve to other names"),
        ("a//b", "must not resolve to other names"),
    ],
)
def test_a_wrong_key_is_refused_in_mlflows_words(
    rest: Rest, run_id: str, path: str, key: object, text: str
) -> None:
    status, code, message = rest.refused(f"runs/{path}", run_id=run_id, key=key, value="v")
    assert (status, code) == (400, INVALID)
    assert text in message


def test_a_tag_is_set_replaced_and_deleted(rest: Rest, run_id: str) -> None:
    for value in ("1", "2"):
        assert rest.post("runs/set-tag", run_id=run_id, key="ü/x", value=value) == {}
    assert pairs(read(rest, run_id)["data"]["tags"])["ü/x"] == "2"
    assert rest.post("runs/delete-tag", run_id=run_id, key="ü/x") == {}
    again = rest.refused("runs/delete-tag", run_id=run_id, key="ü/x")
    assert again == (404, MISSING, f"No tag with name: ü/x in run with id {run_id}")


def test_the_name_and_its_tag_are_one(rest: Rest, run_id: str) -> None:
    tag = {"run_id": run_id, "key": "mlflow.runName"}
    assert rest.post("runs/set-tag", **tag, value="renamed") == {}
    assert read(rest, run_id)["info"]["run_name"] == "renamed"
    assert rest.post("runs/set-tag", **tag, value="") == {}
    found = read(rest, run_id)
    assert (found["info"]["run_name"], pairs(found["data"]["tags"])["mlflow.runName"]) == ("renamed",) * 2


def test_inputs_are_linked_once(rest: Rest, experiment_id: str, run_id: str) -> None:
    context = [{"key": "mlflow.data.context", "value": "train"}]
    for tags in (context, []):
        datasets = [{"dataset": {**DATASET, "profile": "{}"}, "tags": tags}]
        rest.post("runs/log-inputs", run_id=run_id, datasets=datasets, models=[{"model_id": "m-1"}])
    expected = [{"tags": context, "dataset": {**DATASET, "profile": "{}"}}]
    assert read(rest, run_id)["inputs"] == {"dataset_inputs": expected, "model_inputs": [{"model_id": "m-1"}]}
    # A search leaves out the models (MLflow).
    [found] = rest.post("runs/search", experiment_ids=[experiment_id])["runs"]
    assert found["inputs"] == {"dataset_inputs": expected}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"datasets": "x"}, "Invalid value \"x\" for parameter 'datasets'"),
        ({"datasets": [{"dataset": {**DATASET, "name": "n" * 501}}]}, "name"),
        ({"datasets": [{"dataset": {**DATASET, "digest": "d" * 37}}]}, "digest"),
        ({"datasets": [{"dataset": DATASET, "tags": [{"key": "k", "value": "v" * 501}]}]}, "500"),
        ({"run_id": "not a run", "datasets": []}, "Invalid value \"not a run\" for parameter 'run_id'"),
    ],
)
def test_wrong_inputs_are_refused(rest: Rest, run_id: str, body: dict[str, Any], text: str) -> None:
    status, code, message = rest.refused("runs/log-inputs", **{"run_id": run_id, **body})
    assert (status, code) == (400, INVALID)
    assert text in message


def test_outputs_are_linked_once_and_told_everywhere(rest: Rest, experiment_id: str, run_id: str) -> None:
    models = [{"model_id": "m-1", "step": 4}, {"model_id": "m-2"}]
    assert rest.post("runs/outputs", run_id=run_id, models=models) == {}
    assert rest.refused("runs/outputs", run_id=run_id, models=models[:1])[:2] == (400, "BAD_REQUEST")
    assert rest.post("runs/outputs", run_id=run_id, models=[]) == {}
    assert "parameter 'models'" in rest.refused("runs/outputs", run_id=run_id)[2]
    expected = {"model_outputs": [{"model_id": "m-1", "step": 4}, {"model_id": "m-2", "step": 0}]}
    [found] = rest.post("runs/search", experiment_ids=[experiment_id])["runs"]
    assert read(rest, run_id)["outputs"] == found["outputs"] == expected


def test_models_of_old_clients_are_kept_in_a_tag(rest: Rest, run_id: str) -> None:
    signed = {**MODEL, "model_uuid": "u", "signature": {"inputs": "[]"}}
    for model in (MODEL, signed):
        assert rest.post("runs/log-model", run_id=run_id, model_json=json.dumps(model)) == {}
    history = json.loads(pairs(read(rest, run_id)["data"]["tags"])["mlflow.log-model.history"])
    assert [(item["artifact_path"], item["model_uuid"]) for item in history] == [("m", None), ("m", "u")]
    assert history[0]["flavors"] == {"f": {"x": 1}}
    assert "signature" not in history[1]


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("{", "is not a valid JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "missing mandatory fields"),
        (json.dumps({**MODEL, "flavors": 5}), "Malformed model info"),
    ],
)
def test_what_is_no_model_is_refused(rest: Rest, run_id: str, text: str, refusal: str) -> None:
    status, code, message = rest.refused("runs/log-model", run_id=run_id, model_json=text)
    assert (status, code) == (400, INVALID)
    assert refusal in message


def test_a_search_pages_through_runs_in_order(rest: Rest, experiment_id: str) -> None:
    for number in range(5):
        run_id = rest.run(experiment_id, run_name=f"run {number}", start_time=number)
        rest.post("runs/log-parameter", run_id=run_id, key="p", value=str(number % 2))
    search: dict[str, Any] = {"experiment_ids": [experiment_id], "filter": "params.p = '0'", "max_results": 2}
    first = rest.post("runs/search", **search)
    assert [run["info"]["run_name"] for run in first["runs"]] == ["run 4", "run 2"]
    second = rest.post("runs/search", **search, page_token=first["next_page_token"])
    assert [run["info"]["run_name"] for run in second["runs"]] == ["run 0"]
    assert "next_page_token" not in second
    # The same, spelled as protobuf's JSON and with a field that nobody knows.
    camel = rest.post(
        "runs/search", experimentIds=[experiment_id], orderBy=["start_time ASC"], maxResults="3", unknown=1
    )
    assert [run["info"]["run_name"] for run in camel["runs"]] == ["run 0", "run 1", "run 2"]


def test_a_search_sees_points_that_were_logged_before(rest: Rest, experiment_id: str, run_id: str) -> None:
    point = {"run_id": run_id, "key": "loss", "value": 0.25, "timestamp": 1, "step": 1}
    rest.post("runs/log-metric", **point)
    [found] = rest.post("runs/search", experiment_ids=[experiment_id], filter="metrics.loss < 0.5")["runs"]
    assert found["data"]["metrics"] == [{"key": "loss", "value": 0.25, "timestamp": 1, "step": 1}]


@pytest.mark.parametrize(
    "experiment_ids", [[], ["999999999"], ["-1"], ["9" * 40]], ids=["none", "unknown", "negative", "huge"]
)
def test_nothing_is_found_where_nothing_is(rest: Rest, experiment_ids: list[str]) -> None:
    assert rest.post("runs/search", experiment_ids=experiment_ids) == {}


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ({"experiment_ids": ["x"]}, "Invalid experiment ID 'x'"),
        ({"experiment_ids": [""]}, "Invalid experiment ID ''"),
        ({"experiment_ids": "0"}, "Invalid value \"0\" for parameter 'experiment_ids'"),
        ({"experiment_ids": [5]}, "experiment_ids"),
        ({"filter": 5}, "Invalid value 5 for parameter 'filter'"),
        ({"filter": "params.p = 1"}, "Expected a quoted string value for param"),
        ({"filter": "metrics.m > 1 OR metrics.m < 0"}, "Invalid clause(s) in filter string"),
        ({"filter": "metrics.m > 'x'"}, "Expected numeric value type for metric"),
        ({"filter": "metrics.m IS NULL"}, "IS NULL"),
        ({"filter": "foo.bar = 'x'"}, "Invalid entity type 'foo'"),
        ({"filter": "params.p IN ('1')"}, "Expected a quoted string value"),
        ({"order_by": ["foo"]}, "Invalid attribute key 'foo' specified"),
        ({"order_by": ["metrics.m", "metric.m DESC"]}, "duplicate fields"),
        ({"order_by": ["dataset.name"]}, "Invalid identifier type 'dataset'"),
        ({"order_by": "metrics.m"}, "Invalid value \"metrics.m\" for parameter 'order_by'"),
        ({"order_by": [5]}, "Invalid value [5] for parameter 'order_by'"),
        ({"max_results": 0}, "It must be a positive integer"),
        ({"max_results": 50_001}, "Invalid value 50001 for parameter 'max_results'"),
        ({"max_results": {"a": 1}}, "Invalid value {\"a\":1} for parameter 'max_results'"),
        ({"max_results": None}, "Invalid value null for parameter 'max_results'"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"maxResults": 5, "max_results": 5}, "Request specifies both 'max_results' and 'maxResults'"),
    ],
)
def test_a_wrong_search_is_refused_in_mlflows_words(rest: Rest, search: dict[str, Any], text: str) -> None:
    status, code, message = rest.refused("runs/search", **{"experiment_ids": ["0"], **search})
    assert (status, code) == (400, INVALID)
    assert text in message
