"""runs/create, log-batch and log-metric through MLflow's REST API."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

METRIC = {"key": "loss", "value": 1.5, "timestamp": 10, "step": 3}


class Api:
    """MLflow's REST API of one server."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/2.0/mlflow/"
        self._session = requests.Session()

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self._session.post(self._url + path, **(options or {"json": body}))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self._session.get(self._url + path, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def create_run(self, **body: Any) -> str:
        answer = self.post("runs/create", {"experiment_id": "0", **body})
        assert answer.status_code == 200, answer.text
        run_id: str = answer.json()["run"]["info"]["run_id"]
        return run_id

    def data(self, run_id: str) -> dict[str, Any]:
        data: dict[str, Any] = self.get("runs/get", run_id=run_id)["run"]["data"]
        return data

    def history(self, run_id: str, key: str) -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = self.get("metrics/get-history", run_id=run_id, metric_key=key).get(
            "metrics", []
        )
        return points


@pytest.fixture
def api(gateway_url: str) -> Api:
    return Api(gateway_url)


def refusal(answer: requests.Response) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["error_code"], body["message"]


def pairs(items: list[dict[str, str]]) -> dict[str, str]:
    return {item["key"]: item["value"] for item in items}


def test_a_created_run_is_answered_whole(api: Api) -> None:
    answer = api.post(
        "runs/create",
        {
            "experiment_id": "0",
            "user_id": "ada",
            "start_time": 5,
            "run_name": "first",
            "tags": [{"key": "any $igns", "value": "1"}],
        },
    )
    run = answer.json()["run"]
    info = run["info"]
    assert info["run_id"] == info["run_uuid"]
    assert info["artifact_uri"].endswith(f"/{info['run_id']}/artifacts")
    assert (info["run_name"], info["user_id"], info["start_time"]) == ("first", "ada", 5)
    assert (info["status"], info["lifecycle_stage"], "end_time" in info) == ("RUNNING", "active", False)
    assert pairs(run["data"]["tags"]) == {"any $igns": "1", "mlflow.runName": "first"}
    assert api.get("runs/get", run_id=info["run_id"])["run"]["info"] == info


def test_a_run_without_a_name_gets_one(api: Api) -> None:
    info = api.get("runs/get", run_id=api.create_run())["run"]["info"]
    assert len(info["run_name"].split("-")) == 3


@pytest.mark.parametrize(
    ("body", "status", "code", "text"),
    [
        ({}, 400, "BAD_REQUEST", "experiment_id"),
        ({"experiment_id": "abc"}, 400, "INVALID_PARAMETER_VALUE", "must be a valid integer"),
        ({"experiment_id": "987654321"}, 404, "RESOURCE_DOES_NOT_EXIST", "No Experiment with id=987654321"),
        ({"experiment_id": 0}, 400, "INVALID_PARAMETER_VALUE", "'experiment_id'"),
        ({"experiment_id": "0", "start_time": "x"}, 400, "INVALID_PARAMETER_VALUE", "'start_time'"),
        (
            {"experiment_id": "0", "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]},
            400,
            "INVALID_PARAMETER_VALUE",
            "Both 'run_name' argument and 'mlflow.runName' tag are specified",
        ),
        (
            {"experiment_id": "0", "tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "1"}]},
            400,
            "BAD_REQUEST",
            "different keys",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused(
    api: Api, body: dict[str, Any], status: int, code: str, text: str
) -> None:
    answered = refusal(api.post("runs/create", body))
    assert answered[:2] == (status, code)
    assert text in answered[2]


def test_concurrent_creations_do_not_mix(gateway_url: str) -> None:
    def create(number: int) -> tuple[str, str]:
        run = Api(gateway_url).post("runs/create", {"experiment_id": "0", "run_name": f"run {number}"})
        info = run.json()["run"]["info"]
        return info["run_id"], info["run_name"]

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(40)))
    assert [name for _, name in made] == [f"run {number}" for number in range(40)]
    assert len({run_id for run_id, _ in made}) == 40


def test_a_batch_is_stored_whole_and_seen_at_once(api: Api) -> None:
    run_id = api.create_run()
    body = {
        "run_id": run_id,
        "metrics": [METRIC, {**METRIC, "key": "acc", "value": "NaN"}],
        "params": [{"key": "p", "value": "x" * 7_000}, {"key": "empty"}],
        "tags": [{"key": "t", "value": "1"}, {"key": "t", "value": "2"}],
    }
    assert api.post("runs/log-batch", body).json() == {}
    data = api.data(run_id)
    assert {metric["key"]: metric["value"] for metric in data["metrics"]} == {"loss": 1.5, "acc": "NaN"}
    assert pairs(data["params"]) == {"p": "x" * 6_000, "empty": ""}
    assert pairs(data["tags"])["t"] == "2"


def test_what_is_unusual_means_the_same(api: Api) -> None:
    """Numbers as texts, nulls, fields that nobody knows and camel case take the slow path."""
    run_id = api.create_run()
    metrics = [
        {"key": "m", "value": "2.5", "timestamp": "7", "step": "1"},
        {"key": "m", "value": 3, "timestamp": 8, "step": None, "modelId": ""},
        {"key": "m", "value": "-Infinity", "timestamp": 9.0, "unknown": [1]},
    ]
    assert api.post("runs/log-batch", {"run_id": run_id, "metrics": metrics}).status_code == 200
    assert [(p["value"], p["timestamp"], p["step"]) for p in api.history(run_id, "m")] == [
        (2.5, 7, 1),
        (3.0, 8, 0),
        (-1.7976931348623157e308, 9, 0),
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"metrics": [{"key": "m", "timestamp": 1}]}, "'metrics[0].value'"),
        ({"metrics": [METRIC, {"key": "m", "value": 1}]}, "'metrics[1].timestamp'"),
        ({"metrics": [{**METRIC, "timestamp": -1}]}, "metrics[0].timestamp"),
        ({"metrics": [{**METRIC, "key": "a//b"}]}, "metrics[0].name"),
        ({"metrics": [{**METRIC, "key": "x" * 251}]}, "exceeds the maximum length of 250"),
        ({"metrics": [{**METRIC, "value": "high"}]}, "metrics[0].value"),
        ({"metrics": [{**METRIC, "step": 2**63}]}, "step"),
        ({"metrics": [METRIC] * 1_001}, "at most 1000 metrics"),
        ({"params": [{"key": f"p{n}", "value": ""} for n in range(101)]}, "at most 100 params"),
        ({"tags": [{"key": f"t{n}", "value": ""} for n in range(101)]}, "at most 100 tags"),
        ({"metrics": [METRIC] * 1_000, "tags": [{"key": "t", "value": ""}]}, "at most 1000 metrics, params"),
        ({"params": [{"key": "p", "value": "1"}] * 2}, "Duplicate parameter keys"),
        ({"params": [{"key": "a$", "value": "1"}]}, "params[0].key"),
        ({"tags": [{"value": "1"}]}, "'tags[0].key'"),
        ({"metrics": {"a": 1}}, "'metrics'"),
        ({"run_id": 5}, "'run_id'"),
        ({"run_id": "a b"}, "'run_id'"),
        ({"run_id": None}, "'run_id'"),
    ],
)
def test_one_wrong_entry_refuses_a_batch_whole(api: Api, change: dict[str, Any], text: str) -> None:
    run_id = api.create_run()
    body = {"run_id": run_id, "params": [{"key": "before", "value": "1"}], "metrics": [METRIC], **change}
    status, code, message = refusal(api.post("runs/log-batch", body))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert text in message
    data = api.data(run_id)
    assert "metrics" not in data
    assert "params" not in data


def test_another_value_of_a_param_refuses_a_batch_whole(api: Api) -> None:
    run_id = api.create_run()
    api.post("runs/log-batch", {"run_id": run_id, "params": [{"key": "p", "value": "1"}]})
    body = {
        "run_id": run_id,
        "params": [{"key": "q", "value": "1"}, {"key": "p", "value": "2"}],
        "metrics": [METRIC],
        "tags": [{"key": "t", "value": "1"}],
    }
    status, code, message = refusal(api.post("runs/log-batch", body))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "Changing param values is not allowed" in message
    data = api.data(run_id)
    assert pairs(data["params"]) == {"p": "1"}
    assert "metrics" not in data
    assert "t" not in pairs(data["tags"])


@pytest.mark.parametrize(
    "body", [{}, {"metrics": [METRIC]}, {"params": [{"key": "p"}]}, {"tags": [{"key": "t"}]}]
)
def test_runs_that_take_nothing_are_named(api: Api, body: dict[str, Any]) -> None:
    unknown, deleted = "f" * 32, api.create_run()
    api.post("runs/log-batch", {"run_id": deleted, "metrics": [METRIC]})
    assert api.post("runs/delete", {"run_id": deleted}).status_code == 200
    for run_id in (unknown, "nope"):
        assert refusal(api.post("runs/log-batch", {"run_id": run_id, **body})) == (
            404,
            "RESOURCE_DOES_NOT_EXIST",
            f"Run with id={run_id} not found",
        )
    status, code, message = refusal(api.post("runs/log-batch", {"run_id": deleted, **body}))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message == f"The run {deleted} must be in the 'active' state. Current state is deleted."


def test_a_deletion_counts_from_the_next_request_on(api: Api) -> None:
    """Nothing is remembered about a run, however often it was just written to."""
    run_id = api.create_run()
    point = {"run_id": run_id, **METRIC}
    for action, status in (("delete", 400), ("restore", 200), ("delete", 400)):
        api.post(f"runs/{action}", {"run_id": run_id})
        assert api.post("runs/log-metric", point).status_code == status


def test_one_metric(api: Api) -> None:
    run_id = api.create_run()
    assert api.post("runs/log-metric", {"run_id": run_id, **METRIC}).json() == {}
    assert api.post("runs/log-metric", {"run_uuid": run_id, "key": "loss", "value": 2, "timestamp": 4}).ok
    assert api.history(run_id, "loss") == [
        {"key": "loss", "value": 2.0, "timestamp": 4, "step": 0},
        {"key": "loss", "value": 1.5, "timestamp": 10, "step": 3},
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"value": None}, "Missing value for required parameter 'value'"),
        ({"timestamp": None}, "Missing value for required parameter 'timestamp'"),
        ({"key": ""}, "Missing value for required parameter 'key'"),
        ({"run_id": ""}, "Missing value for required parameter 'run_id'"),
        ({"value": "high"}, "'value'"),
        ({"timestamp": -1}, "'timestamp'"),
        ({"key": "../up"}, "'name'"),
        ({"step": 1.5}, "'step'"),
        ({"model_id": 5}, "'model_id'"),
    ],
)
def test_a_wrong_metric_is_refused(api: Api, change: dict[str, Any], text: str) -> None:
    run_id = api.create_run()
    status, code, message = refusal(api.post("runs/log-metric", {"run_id": run_id, **METRIC, **change}))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert text in message
    assert api.history(run_id, "loss") == []


def test_a_metric_of_an_unknown_model_is_refused(api: Api) -> None:
    run_id = api.create_run()
    answer = api.post("runs/log-metric", {"run_id": run_id, **METRIC, "model_id": "m-" + "0" * 32})
    assert refusal(answer)[:2] == (400, "BAD_REQUEST")
    assert api.history(run_id, "loss") == []


def test_parallel_batches_of_one_run_are_all_stored(gateway_url: str, api: Api) -> None:
    """MLflow's asynchronous logging sends ten at a time, with the same params in each."""
    run_id = api.create_run()
    together = threading.Barrier(10)

    def log(number: int) -> int:
        body = {
            "run_id": run_id,
            "metrics": [{"key": "m", "value": number, "timestamp": number, "step": number}],
            "params": [{"key": "same", "value": "1"}],
        }
        client = Api(gateway_url)
        together.wait()
        return client.post("runs/log-batch", body).status_code

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(log, range(10))) == {200}
    assert [point["step"] for point in api.history(run_id, "m")] == list(range(10))
    assert pairs(api.data(run_id)["params"]) == {"same": "1"}


def test_a_body_of_another_type_is_refused(api: Api) -> None:
    run_id = api.create_run()
    for options in (
        {"data": "{}"},
        {"data": f'{{"run_id":"{run_id}"}}', "headers": {"Content-Type": "text/plain"}},
    ):
        status, code, _ = refusal(api.post("runs/log-batch", **options))
        assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
