"""Every topic is described by an example that is right, in the AsyncAPI document and in docs/events.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from google.protobuf import json_format, message_factory
from runstream_common.bus.asyncapi import asyncapi_document
from runstream_common.bus.event_examples import EXAMPLES
from runstream_common.bus.events import event_descriptor, message_as_json
from runstream_common.bus.messages import Message
from runstream_common.bus.topics import JSON, MODEL_PROMOTED, TOPICS, Topic

EVENTS_PAGE = Path(__file__).parents[4] / "docs" / "events.md"
NAMES = [topic.name for topic in TOPICS]


def parsed(topic: Topic) -> Any:
    descriptor = event_descriptor(topic.message)
    assert descriptor is not None
    return json_format.ParseDict(EXAMPLES[topic.name], message_factory.GetMessageClass(descriptor)())


@pytest.mark.parametrize("topic", TOPICS, ids=NAMES)
def test_an_example_is_an_event_of_its_topic(topic: Topic) -> None:
    event = parsed(topic)  # refuses unknown fields and wrong types
    assert {field.name for field, _ in event.ListFields()} <= set(EXAMPLES[topic.name])
    assert len(event.ListFields()) > 1
    if topic.content_types == (JSON,):
        assert set(EXAMPLES[topic.name]) == {field.name for field in event.DESCRIPTOR.fields}


@pytest.mark.parametrize("topic", TOPICS, ids=NAMES)
def test_an_example_is_as_the_tail_shows_the_event(topic: Topic) -> None:
    example = EXAMPLES[topic.name]
    value = json.dumps(example).encode() if JSON in topic.content_types else parsed(topic).SerializeToString()
    headers = {"content-type": JSON} if JSON in topic.content_types else {}
    shown = message_as_json(Message(topic.name, "k", value, headers, 0, 0, 0))
    assert json.loads(shown) == example


@pytest.mark.parametrize("topic", TOPICS, ids=NAMES)
def test_the_asyncapi_document_has_the_example_and_a_schema_that_it_fits(topic: Topic) -> None:
    document = asyncapi_document()
    [reference] = document["channels"][topic.name]["messages"].values()
    message = document["components"]["messages"][reference["$ref"].rpartition("/")[2]]
    assert message["examples"] == [{"payload": EXAMPLES[topic.name]}]
    schema = {**message["payload"], "components": document["components"]}
    jsonschema.Draft7Validator(schema).validate(EXAMPLES[topic.name])
    for name in EXAMPLES[topic.name]:
        wrong = {**EXAMPLES[topic.name], name: {"never": ["right"]}}
        assert not jsonschema.Draft7Validator(schema).is_valid(wrong), name


@pytest.mark.parametrize("topic", TOPICS, ids=NAMES)
def test_the_page_on_events_shows_the_example(topic: Topic) -> None:
    blocks = re.findall(r"^```json\n(.*?)^```", EVENTS_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert EXAMPLES[topic.name] in [json.loads(block) for block in blocks]


@pytest.mark.parametrize(
    "value", [b'{"a": 1', b"\xff", b'{"a": NaN}', b"[" * 100_000], ids=["cut", "no text", "nan", "deep"]
)
def test_what_only_claims_to_be_json_has_no_json_form(value: bytes) -> None:
    assert message_as_json(Message(MODEL_PROMOTED.name, "k", value, {}, 0, 0, 0)) == ""


def test_json_over_several_lines_is_shown_on_one() -> None:
    message = Message(MODEL_PROMOTED.name, "k", b'{\n "a": "\xc3\xa9"\n}', {}, 0, 0, 0)
    assert message_as_json(message) == '{"a": "é"}'
