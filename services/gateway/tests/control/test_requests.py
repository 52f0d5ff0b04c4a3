"""What every operation has in common: reading requests, refusals, the OpenAPI document."""

from __future__ import annotations

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.gateway.tests.control.support import Api, champion


def test_the_document_is_valid_and_names_every_type(api: Api) -> None:
    document = api.get("/openapi.json")
    OpenAPIV31SpecValidator(document).validate()
    assert {"Judgement", "PolicyDocument", "Problem", "Event", "Missed"} <= document["components"][
        "schemas"
    ].keys()
    operations = [item for path in document["paths"].values() for item in path.values()]
    assert len({item["operationId"] for item in operations}) == len(operations)


def test_http_basic_names_who_asks(api: Api, model: str) -> None:
    answer = requests.post(
        f"{api.gateway_url}/api/runstream/v1/models/{model}/promotions",
        json=champion(1),
        auth=("grace", "any"),
        timeout=60,
    )
    assert answer.json()["promotion"]["actor"] == "grace"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page_size": "many"}, "page_size"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"page_size": [1, 2]}, "page_size"),
        ({"state": "LOST"}, "state"),
        ({"color": "red"}, "color"),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, query: dict, field: str) -> None:
    problem = api.refused("GET", "/promotion-requests", **query, status=400)
    assert problem["reason"] == "INVALID_ARGUMENT"
    assert [item["field"] for item in problem["violations"]] == [field]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[1]", "body"),
        (b'{"version": 1}', "target"),
        (b'{"version": "1", "target": {"alias": "a"}}', "version"),
        (b'{"version": 2147483648, "target": {"alias": "a"}}', "version"),
        (b'{"version": 1, "target": {}}', "target"),
        (b'{"version": 1, "target": {"alias": "a", "stage": "Staging"}}', "target"),
        (b'{"version": 1, "target": {"alias": 3}}', "target.alias"),
        (b'{"version": 1, "target": {"alias": "a"}, "colour": 1}', "colour"),
        (b'{"version": 1, "target": {"alias": "\\ud800"}}', "body"),
    ],
)
def test_a_wrong_body_is_named(api: Api, model: str, body: bytes, field: str) -> None:
    answer = requests.post(
        f"{api.gateway_url}/api/runstream/v1/models/{model}/promotions",
        data=body,
        headers={"Content-Type": "application/json", "X-Runstream-Actor": "ada"},
        timeout=60,
    )
    assert answer.status_code == 400, answer.text
    assert [item["field"] for item in answer.json()["violations"]] == [field], answer.text


def test_a_form_is_no_json(api: Api, model: str) -> None:
    answer = requests.post(
        f"{api.gateway_url}/api/runstream/v1/models/{model}/promotions",
        data={"version": 1},
        headers={"X-Runstream-Actor": "ada"},
        timeout=60,
    )
    assert answer.status_code == 415


def test_what_is_not_there_is_a_problem(api: Api) -> None:
    assert api.refused("GET", "/policies/never-stored", status=404)["reason"] == "POLICY_NOT_FOUND"
    assert api.refused("GET", "/models/never/promotions", status=404)["reason"] == "MODEL_NOT_FOUND"
    assert api.refused("GET", "/status/never", status=404)["reason"] == "SERVICE_NOT_FOUND"
