"""The examples in docs/promotion.md are what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToDict, Parse, ParseDict
from runstream_proto.events.v1.model_promoted_pb2 import ModelPromoted
from runstream_proto.registry.v1.promotion_service_pb2 import PolicyDocument
from runstream_registry.event_json import event_json
from runstream_registry.policy.documents import read_document

PAGE = (Path(__file__).parents[4] / "docs" / "promotion.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_policies_in_the_docs_are_accepted(text):
    message = ParseDict(yaml.safe_load(text), PolicyDocument())

    assert read_document(MessageToDict(message, preserving_proto_field_name=True)).rules


def test_the_first_policy_shows_every_kind_of_rule():
    shown = {kind for rule in yaml.safe_load(blocks("yaml")[0])["rules"] for kind in rule}

    assert shown == {
        field.name for field in PolicyDocument.DESCRIPTOR.fields_by_name["rules"].message_type.fields
    }


def test_the_event_in_the_docs_is_one():
    (text,) = blocks("json")
    message = Parse(text, ModelPromoted())

    assert json.loads(event_json(message)) == json.loads(text)


async def test_the_code_in_the_docs_checks_a_chain(registry):
    await registry.model_with(0.9, 0.9)
    for version in (1, 2):
        await registry.promote(version, reason="größer")
    scope: dict[str, object] = {}
    exec(blocks("python")[0], scope)

    async with registry.database.driver() as connection:
        assert await scope["recompute"](connection, "model/1")
        await connection.execute("ALTER TABLE registry.audit_entry DISABLE TRIGGER audit_entry_append_only")
        await connection.execute(
            "UPDATE registry.audit_entry SET content = content || ' ' WHERE sequence = 2"
        )
        assert not await scope["recompute"](connection, "model/1")
