"""Requests as MLflow reads them, without a server."""

import json
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as mlflow_pb
from runstream_gateway.mlflow_api.checks import (
    at_most,
    boolean,
    entries_with,
    float_like,
    int_like,
    required,
    string,
)
from runstream_gateway.mlflow_api.messages import message_reply, read_message
from starlette.requests import Request


def a_request(
    method: str = "POST", body: bytes = b"", query: str = "", content_type: str | None = "application/json"
) -> Request:
    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "headers": headers,
        "query_string": query.encode(),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


async def refused(request: Request, message: Any, schema: Any) -> str:
    with pytest.raises(MlflowException) as error:
        await read_message(request, message, schema)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    text: str = error.value.message
    return text


async def test_a_query_fills_the_fields_that_it_names() -> None:
    query = "max_results=5&order_by=a&order_by=b&view_type=ALL&unknown=1&filter=first&filter=second"
    asked = await read_message(a_request("GET", query=query), mlflow_pb.SearchExperiments(), {})
    assert (asked.max_results, list(asked.order_by), asked.view_type) == (5, ["a", "b"], mlflow_pb.ALL)
    assert asked.filter == "first"


async def test_a_boolean_in_a_query_is_a_word() -> None:
    query = a_request("GET", query="request_ids=x&allow_partial=TRUE")
    assert (await read_message(query, mlflow_pb.GetTrace(), {})).allow_partial is True
    text = await refused(a_request("GET", query="allow_partial=1"), mlflow_pb.GetTrace(), {})
    assert text == "Invalid boolean value: 1, must be 'true' or 'false'."


async def test_a_get_without_a_query_is_read_from_its_body() -> None:
    request = a_request("GET", b'{"run_id": "x"}', content_type=None)
    assert (await read_message(request, mlflow_pb.GetRun(), {})).run_id == "x"


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_only_post_and_put_must_say_json(method: str) -> None:
    request = a_request(method, b'{"key": "k"}', content_type="text/plain")
    assert (await read_message(request, mlflow_pb.SetLoggedModelTags(), {})).ListFields() == []
    for strict in ("POST", "PUT"):
        text = await refused(a_request(strict, b"{}", content_type=None), mlflow_pb.SetTag(), {})
        assert text == "Bad Request. Content-Type header is missing."


async def test_run_uuid_stands_for_run_id_but_no_other_spelling_does() -> None:
    schema = {"run_id": [required, string]}
    body = b'{"run_uuid": "x", "key": "k"}'
    assert (await read_message(a_request(body=body), mlflow_pb.SetTag(), schema)).run_uuid == "x"
    text = await refused(a_request(body=b'{"runId": "x"}'), mlflow_pb.SetTag(), schema)
    assert text.startswith("Missing value for required parameter 'run_id'.")


async def test_two_spellings_are_refused_also_deep_down() -> None:
    top = a_request(body=b'{"run_id": "x", "runId": "x"}')
    assert "Request specifies both 'run_id' and 'runId'" in await refused(top, mlflow_pb.SetTag(), {})
    deep = a_request(body=b'{"datasets": [{}, {"dataset": {"source_type": "a", "sourceType": "b"}}]}')
    assert "both 'source_type' and 'sourceType'" in await refused(deep, mlflow_pb.LogInputs(), {})


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"tags": [{"key": "k", "value": 5}]}, "value"),
        ({"tags": {"key": "k"}}, "tags"),
        ({"tags": [5]}, "tags"),
        ({"user_id": 5}, "user_id"),
        ({"start_time": 2**63}, "start_time"),
        ({"start_time": 1.5}, "start_time"),
        ({"user_id": "\udc00"}, "user_id"),
        ({"tags": [None]}, "tags"),
    ],
)
async def test_a_wrong_type_is_refused_where_no_check_looks(body: dict[str, Any], place: str) -> None:
    text = await refused(a_request(body=json.dumps(body).encode()), mlflow_pb.CreateRun(), {})
    assert place in text


async def test_nesting_without_end_is_refused() -> None:
    for body in (b'{"tags":' * 5_000, b"[" * 100_000, b'{"tags":' + b"[" * 50_000 + b"]" * 50_000 + b"}"):
        text = await refused(a_request(body=body), mlflow_pb.CreateRun(), {"experiment_id": [required]})
        assert "experiment_id" in text or "tags" in text


async def test_an_unknown_enum_is_as_if_it_were_not_given() -> None:
    asked = await read_message(a_request(body=b'{"status": "NOPE"}'), mlflow_pb.UpdateRun(), {})
    assert not asked.HasField("status")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (int_like, [5, "5", -1, 5.0, True], ["x", 1.5, None, [], float("inf")]),
        (float_like, [5, "5", "NaN", 1.5], ["x", None, {}]),
        (boolean, [True], [1, "true"]),
        (at_most(10), [10, "3"], [11, "11", "x"]),
        (required, [0, [], False], ["", None]),
    ],
)
def test_checks_take_what_mlflow_takes(check: Any, good: list[Any], bad: list[Any]) -> None:
    assert [check(value) for value in good] == [True] * len(good)
    assert [check(value) for value in bad] == [False] * len(bad)


async def test_entries_are_named_by_their_place() -> None:
    schema = {"metrics": [entries_with("metrics", "key", "value")]}
    body = b'{"metrics": [{"key": "a", "value": 1}, {"key": "b"}]}'
    text = await refused(a_request(body=body), mlflow_pb.LogBatch(), schema)
    assert text.startswith("Missing value for required parameter 'metrics[1].value'.")
    text = await refused(a_request(body=b'{"metrics": [5]}'), mlflow_pb.LogBatch(), schema)
    assert "parameter 'metrics'" in text


def test_a_message_is_answered_with_its_own_names_and_numbers() -> None:
    answer = message_reply(mlflow_pb.Metric(key="k", timestamp=2**53 + 1, dataset_name="d"))
    assert json.loads(answer.body) == {"key": "k", "timestamp": 2**53 + 1, "dataset_name": "d"}
