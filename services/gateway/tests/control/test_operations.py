"""State of the services, dead letters and events, against the real services."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from runstream_proto.events.v1.run_logged_pb2 import RunLogged

from services.gateway.tests.control.support import Api, champion
from tests.support.bus import eventually
from tests.support.dead_letters import park
from tests.support.service_stack import ServiceStack

GROUP = "metadata"


def test_every_service_tells_its_state(api: Api) -> None:
    status = api.get("/status")
    services = {service["name"]: service for service in status["services"]}
    assert services.keys() == {"metadata", "ingest", "artifact", "registry"}
    assert status["ready"] is True
    assert all(service["version"] and not service["error"] for service in services.values())
    [subscription] = [item for item in services["metadata"]["subscriptions"] if item["topic"] == "run-logged"]
    assert (subscription["group"], subscription["state"]) == (GROUP, "RUNNING")
    assert services["metadata"]["bus_size_bytes"] > 0
    assert api.get("/status/ingest")["name"] == "ingest"


def test_topics_tell_what_they_carry(api: Api) -> None:
    topics = {topic["name"]: topic for topic in api.get("/topics")["topics"]}
    assert topics["model-promoted"]["content_types"] == ["application/json"]
    assert topics["run-logged"]["groups"] == [GROUP]


def test_services_are_listed_with_their_targets(api: Api, mlflow_stack: ServiceStack) -> None:
    targets = {item["name"]: item["target"] for item in api.get("/services")["services"]}
    assert targets["registry"] == mlflow_stack.registry.target


@pytest.fixture
def letters(mlflow_stack: ServiceStack, api: Api) -> list[dict[str, Any]]:
    """Three parked messages of runs that do not exist, which only this test knows."""
    keys = [letter.key for letter in park(mlflow_stack, 3)]
    listed = {letter["key"]: letter for letter in all_letters(api)}
    return [listed[key] for key in keys]


def test_a_dead_letter_is_listed_and_shown_with_its_value(api: Api, letters: list[dict[str, Any]]) -> None:
    letter = letters[0]
    assert (letter["reason"], letter["group"]) == ("RUN_NOT_FOUND", GROUP)
    whole = api.get(f"/dead-letters/run-logged/{GROUP}/{letter['id']}")
    value = base64.b64decode(whole["value_base64"])
    assert len(value) == letter["value_size_bytes"]
    assert RunLogged.FromString(value).run_id == letter["key"]
    assert json.loads(whole["value_json"])["run_id"] == letter["key"]


async def test_dead_letters_are_replayed_by_id(api: Api, letters: list[dict[str, Any]]) -> None:
    """The run is still missing, so the message comes back as another letter."""
    before = letters[0]
    done = api.post(f"/dead-letters/run-logged/{GROUP}/replay", {"ids": [before["id"]]})
    assert done == {"replayed_count": 1}

    def parked_again() -> bool:
        found = [item for item in all_letters(api) if item["key"] == before["key"]]
        return [item["parked_time_ms"] > before["parked_time_ms"] for item in found] == [True]

    await eventually(parked_again)


def test_dead_letters_are_discarded_for_good(api: Api, letters: list[dict[str, Any]]) -> None:
    gone = [letter["id"] for letter in letters[:2]]
    assert api.post(f"/dead-letters/run-logged/{GROUP}/discard", {"ids": gone}) == {"discarded_count": 2}
    left = {item["key"] for item in all_letters(api)}
    assert left.isdisjoint({letter["key"] for letter in letters[:2]})
    assert letters[2]["key"] in left
    api.refused("GET", f"/dead-letters/run-logged/{GROUP}/{gone[0]}", status=404)
    problem = api.refused("POST", f"/dead-letters/run-logged/{GROUP}/discard", {"ids": []}, status=400)
    assert problem["violations"][0]["field"] == "ids"


def test_events_arrive_as_they_happen(api: Api, model: str) -> None:
    url = f"{api.gateway_url}/api/runstream/v1/events"
    with requests.get(
        url, params={"topic": ["model-promoted", "model-changed"]}, stream=True, timeout=60
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stop = threading.Event()
        promoting = threading.Thread(target=_promote_until, args=(api, model, stop))
        promoting.start()
        try:
            event = next(event for event in _events(answer) if event["key"] == model)
        finally:
            stop.set()
            promoting.join()
    assert (event["topic"], event["value"]["model"]) == ("model-promoted", model)
    assert event["event_id"] == event["value"]["event_id"]


def _promote_until(api: Api, model: str, stop: threading.Event) -> None:
    """A stream has what comes after it began, and nobody tells when that is: so there is always something new."""
    for version in itertools.cycle((1, 2)):
        if stop.is_set():
            return
        api.post(f"/models/{model}/promotions", champion(version))


def _events(answer: requests.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith(b"data: "):
            yield json.loads(line[len(b"data: ") :])


def test_an_unknown_topic_is_refused(api: Api) -> None:
    problem = api.refused("GET", "/events", topic="nothing-of-ours", status=400)
    assert problem["violations"][0]["field"] == "topic"
    assert api.refused("GET", "/events", status=400)["violations"][0]["field"] == "topic"


def all_letters(api: Api) -> list[dict[str, Any]]:
    letters, token = [], ""
    while True:
        page = api.get("/dead-letters", topic="run-logged", group=GROUP, page_size=1000, page_token=token)
        letters += page["dead_letters"]
        token = page["next_page_token"]
        if not token:
            return letters
