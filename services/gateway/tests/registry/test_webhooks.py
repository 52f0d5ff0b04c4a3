"""Webhooks through MLflow's REST API."""

from __future__ import annotations

from typing import Any

import pytest
from runstream_gateway.mlflow_api.webhooks import result_json, webhook_json
from runstream_proto.registry.v1 import webhook_service_pb2 as pb

from services.gateway.tests.registry.support import Api

INVALID = "INVALID_PARAMETER_VALUE"
# A public address; nothing is sent to it.
URL = "https://93.184.216.34/hook"
EVENTS = [{"entity": "MODEL_VERSION", "action": "CREATED"}, {"entity": "PROMPT_TAG", "action": "SET"}]


def _create(api: Api, **fields: Any) -> dict[str, Any]:
    answer = api.ok("POST", "webhooks", **{"name": api.unique, "url": URL, "events": EVENTS, **fields})
    webhook: dict[str, Any] = answer["webhook"]
    return webhook


def test_a_webhook_is_created_read_listed_and_deleted_and_its_secret_is_never_told(api: Api) -> None:
    webhook = _create(api, secret="s3cret")
    assert webhook == {
        "webhook_id": webhook["webhook_id"],
        "name": api.unique,
        "url": URL,
        "events": EVENTS,
        "status": "ACTIVE",
        "creation_timestamp": webhook["creation_timestamp"],
        "last_updated_timestamp": webhook["creation_timestamp"],
    }
    path = f"webhooks/{webhook['webhook_id']}"
    assert api.ok("GET", path) == {"webhook": webhook}
    assert webhook in api.ok("GET", "webhooks", max_results=1000)["webhooks"]
    assert api.ok("DELETE", path) == {}
    missing = (404, "RESOURCE_DOES_NOT_EXIST", f"Webhook with ID {webhook['webhook_id']} not found.")
    assert api.refused("GET", path) == missing
    assert api.refused("DELETE", path) == missing


def test_an_update_changes_what_is_given(api: Api) -> None:
    webhook = _create(api, description="d", status="DISABLED")
    assert (webhook["description"], webhook["status"]) == ("d", "DISABLED")
    path = f"webhooks/{webhook['webhook_id']}"
    changed = api.ok("PATCH", path, name=f"{api.unique}-2", status="ACTIVE", description="")["webhook"]
    assert changed["name"] == f"{api.unique}-2"
    assert changed["status"] == "ACTIVE"
    assert "description" not in changed
    # An empty name, URL or list of events changes nothing (MLflow).
    assert api.ok("PATCH", path, name="", url="", events=[])["webhook"]["url"] == URL
    assert api.ok("PATCH", path, events=EVENTS[:1])["webhook"]["events"] == EVENTS[:1]
    api.ok("DELETE", path)


def test_lists_are_pages_newest_first(api: Api) -> None:
    made = [_create(api, name=f"{api.unique}-{number}")["webhook_id"] for number in range(3)]
    seen: list[str] = []
    token = ""
    while True:
        page = api.ok("GET", "webhooks", max_results=2, **({"page_token": token} if token else {}))
        seen += [item["webhook_id"] for item in page["webhooks"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert [webhook_id for webhook_id in seen if webhook_id in made] == made[::-1]
    for webhook_id in made:
        api.ok("DELETE", f"webhooks/{webhook_id}")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "-x"},
        {"url": ""},
        {"url": " "},
        {"url": "ftp://host/x"},
        {"url": "https://"},
        {"url": "https://127.0.0.1/x"},
        {"url": "https://[broken"},
        {"events": []},
        {"events": "all"},
        {"events": [{"entity": "MODEL_VERSION", "action": "DELETED"}]},
        {"events": [{}]},
    ],
)
def test_webhooks_that_mlflow_refuses(api: Api, fields: dict[str, Any]) -> None:
    whole = {"name": api.unique, "url": URL, "events": EVENTS, **fields}
    assert api.refused("POST", "webhooks", **whole)[:2] == (400, INVALID)


@pytest.mark.parametrize("query", [{"max_results": -1}, {"max_results": 1001}, {"page_token": "no token"}])
def test_lists_that_mlflow_refuses(api: Api, query: dict[str, Any]) -> None:
    assert api.refused("GET", "webhooks", **query)[:2] == (400, INVALID)


@pytest.mark.parametrize("webhook_id", ["nothing", "00000000-0000-0000-0000-000000000000"])
def test_unknown_webhooks_are_missing(api: Api, webhook_id: str) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test")):
        status, code, text = api.refused(method, f"webhooks/{webhook_id}{path}")
        assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert webhook_id in text


def test_a_test_tells_the_answer_or_why_there_was_none() -> None:
    answered = pb.TestWebhookResponse(success=True, response_status=204)
    assert result_json(answered) == {"success": True, "response_status": 204, "response_body": ""}
    silent = pb.TestWebhookResponse(error_message="refused")
    assert result_json(silent) == {"success": False, "error_message": "Failed to test webhook: refused"}


def test_events_that_mlflow_has_no_words_for_are_not_told() -> None:
    events = [pb.WebhookEvent(entity="PROMOTION", action="CREATED"), pb.WebhookEvent(**EVENTS[0])]
    assert webhook_json(pb.Webhook(webhook_id="w", events=events))["events"] == EVENTS[:1]
