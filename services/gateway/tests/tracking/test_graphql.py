"""The GraphQL endpoint of MLflow's web UI."""

from typing import Any

import pytest
import requests

GET_RUN = """
query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.ExperimentRunTracking") {
  mlflowGetRun(input: $data) {
    apiError { helpUrl code message __typename }
    run {
      info { runName status runUuid experimentId artifactUri endTime lifecycleStage startTime userId }
      experiment { experimentId name tags { key value } artifactLocation lifecycleStage lastUpdateTime }
      modelVersions { status version name source }
      data { metrics { key value step timestamp } params { key value } tags { key value } }
      inputs {
        datasetInputs {
          dataset { digest name profile schema source sourceType }
          tags { key value }
        }
        modelInputs { modelId }
      }
      outputs { modelOutputs { modelId step } }
    }
    __typename
  }
}
"""


def ask(url: str, query: str, **parts: Any) -> Any:
    answer = requests.post(f"{url}/graphql", json={"query": query, **parts}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(url: str, path: str, body: object) -> Any:
    answer = requests.post(f"{url}/api/2.0/mlflow/{path}", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def run(mlflow_stack: Any) -> dict[str, Any]:
    """An ended run with one of everything, in an experiment of its own."""
    url = mlflow_stack.gateway.url
    experiment_id = post(url, "experiments/create", {"name": "seen over GraphQL"})["experiment_id"]
    made = post(url, "runs/create", {"experiment_id": experiment_id, "run_name": "shown", "start_time": 7})
    run_id = made["run"]["info"]["run_id"]
    for key, value in (("loss", 0.5), ("broken", "NaN")):
        point = {"run_id": run_id, "key": key, "value": value, "timestamp": 2**53 + 1, "step": 3}
        post(url, "runs/log-metric", point)
    post(url, "runs/log-parameter", {"run_id": run_id, "key": "lr", "value": "0.1"})
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "s"}
    post(url, "runs/log-inputs", {"run_id": run_id, "datasets": [{"dataset": dataset}]})
    post(url, "runs/outputs", {"run_id": run_id, "models": [{"model_id": "m-1", "step": 4}]})
    return {"url": url, "run_id": run_id, "experiment_id": experiment_id}


def test_a_run_is_read_with_all_its_data_and_its_experiment(run: dict[str, Any]) -> None:
    answer = ask(run["url"], GET_RUN, variables={"data": {"runId": run["run_id"]}}, operationName="GetRun")
    assert answer["errors"] is None
    response = answer["data"]["mlflowGetRun"]
    assert (response["apiError"], response["__typename"]) == (None, "MlflowGetRunResponse")
    read = response["run"]
    assert read["info"]["runUuid"] == run["run_id"]
    # Integers of 64 bits are texts, and what is not set is the message's default.
    assert (read["info"]["startTime"], read["info"]["endTime"]) == ("7", "0")
    assert (read["info"]["status"], read["info"]["userId"]) == ("RUNNING", "")
    assert read["data"]["metrics"] == [
        {"key": "broken", "value": None, "step": "3", "timestamp": str(2**53 + 1)},
        {"key": "loss", "value": 0.5, "step": "3", "timestamp": str(2**53 + 1)},
    ]
    assert read["data"]["params"] == [{"key": "lr", "value": "0.1"}]
    assert read["inputs"]["datasetInputs"] == [
        {
            "dataset": {
                "digest": "1",
                "name": "d",
                "profile": "",
                "schema": "",
                "source": "s",
                "sourceType": "local",
            },
            "tags": [],
        }
    ]
    assert read["inputs"]["modelInputs"] == []
    assert read["outputs"]["modelOutputs"] == [{"modelId": "m-1", "step": "4"}]
    assert read["experiment"]["name"] == "seen over GraphQL"
    assert read["modelVersions"] == []


def test_an_experiment_is_read(run: dict[str, Any]) -> None:
    query = """query($input: MlflowGetExperimentInput!) {
      mlflowGetExperiment(input: $input) {
        experiment { experimentId name creationTime effectiveTraceArchivalRetention tags { key } workspace }
      }
    }"""
    answer = ask(run["url"], query, variables={"input": {"experimentId": run["experiment_id"]}})
    experiment = answer["data"]["mlflowGetExperiment"]["experiment"]
    assert experiment["experimentId"] == run["experiment_id"]
    assert experiment["creationTime"].isdigit()
    assert experiment["effectiveTraceArchivalRetention"] == ""
    assert (experiment["tags"], experiment["workspace"]) == ([], "default")


def test_runs_are_searched_by_query_and_by_mutation(run: dict[str, Any]) -> None:
    for kind in ("query", "mutation"):
        search = (
            kind
            + """ ($ids: [String]) {
          mlflowSearchRuns(input: {experimentIds: $ids, runViewType: ALL, maxResults: 1}) {
            runs { info { runId } experiment { name } modelVersions { name } }
            nextPageToken
          }
        }"""
        )
        answer = ask(run["url"], search, variables={"ids": [run["experiment_id"]]})
        assert answer["errors"] is None
        found = answer["data"]["mlflowSearchRuns"]
        assert [item["info"]["runId"] for item in found["runs"]] == [run["run_id"]]
        assert found["runs"][0]["experiment"]["name"] == "seen over GraphQL"
        assert found["nextPageToken"] == ""


def test_a_sampled_history_has_null_for_nan(run: dict[str, Any]) -> None:
    query = """query($runs: [String], $key: String) {
      mlflowGetMetricHistoryBulkInterval(input: {runIds: $runs, metricKey: $key}) {
        metrics { key value step runId timestamp }
      }
    }"""
    values = {}
    for key in ("loss", "broken"):
        answer = ask(run["url"], query, variables={"runs": [run["run_id"]], "key": key})
        [point] = answer["data"]["mlflowGetMetricHistoryBulkInterval"]["metrics"]
        assert (point["runId"], point["step"]) == (run["run_id"], "3")
        values[key] = point["value"]
    assert values == {"loss": 0.5, "broken": None}


def test_datasets_of_experiments_are_listed(run: dict[str, Any]) -> None:
    query = """mutation($ids: [String]) {
      mlflowSearchDatasets(input: {experimentIds: $ids}) {
        datasetSummaries { experimentId name digest context }
      }
    }"""
    answer = ask(run["url"], query, variables={"ids": [run["experiment_id"]]})
    assert answer["data"]["mlflowSearchDatasets"]["datasetSummaries"] == [
        {"experimentId": run["experiment_id"], "name": "d", "digest": "1", "context": ""}
    ]


def test_versions_are_searched(gateway_url: str) -> None:
    query = """{ mlflowSearchModelVersions(input: {filter: "name = 'nobody registered this'"}) {
      modelVersions { name version status } nextPageToken
    } }"""
    found = ask(gateway_url, query)["data"]["mlflowSearchModelVersions"]
    assert found == {"modelVersions": [], "nextPageToken": ""}


def test_a_missing_run_is_null_with_a_text(gateway_url: str) -> None:
    answer = ask(gateway_url, GET_RUN, variables={"data": {"runId": "nope"}})
    assert answer == {"data": {"mlflowGetRun": None}, "errors": ["Run with id=nope not found"]}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("{ nope }", "Cannot query field 'nope' on type 'Query'."),
        ("{" + "a: test { output } " * 11 + "}", "at most 10 root fields, got 11 root fields"),
        (
            "{ __schema { types { " + " ".join(f"a{number}: name" for number in range(11)) + " } } }",
            "at most 10 aliases, got 11 aliases",
        ),
        ("{ __schema { types { " + "name " * 1_000 + "} } }", "maximum total selections of 1000"),
        ("{ a " * 11 + "}" * 11, "maximum depth of 10"),
        (
            "{ __schema { ...f } } fragment f on __Schema { types { ...g } } "
            "fragment g on __Type { " + " ".join(f"a{number}: name" for number in range(11)) + " }",
            "at most 10 aliases",
        ),
        ("query A { test { output } } query B { test { output } }", "Must provide operation name"),
        (GET_RUN, "was not provided"),
    ],
)
def test_a_query_that_is_refused_says_why(gateway_url: str, query: str, text: str) -> None:
    answer = ask(gateway_url, query)
    assert answer["data"] is None
    assert text in answer["errors"][0]


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"query": 5}', b'{"query": "{"}', b"[]", b'{"query": "{test{output}}", "variables": []}'],
)
def test_a_body_without_a_query_is_a_400(gateway_url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{gateway_url}/graphql", data=body, headers=headers, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_only_json_is_taken(gateway_url: str) -> None:
    answer = requests.post(f"{gateway_url}/graphql", data="{}", timeout=30)
    assert answer.status_code == 400


def test_a_query_in_the_body_of_a_get_is_answered_too(gateway_url: str) -> None:
    body = {"query": 'query Q { test(inputString: "back") { output } }', "operationName": "Q"}
    answer = requests.get(f"{gateway_url}/graphql", json=body, timeout=30)
    assert answer.json() == {"data": {"test": {"output": "back"}}, "errors": None}
