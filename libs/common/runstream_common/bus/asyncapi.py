"""The AsyncAPI document of the bus, made from the topic registry and the protobuf descriptors.

FastStream can describe its subscribers, but ours take protobuf bytes, about which it knows nothing; the
registry and the descriptors know everything, and also the topics that this process only publishes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor

from runstream_common.bus.event_examples import EXAMPLES
from runstream_common.bus.events import event_descriptor
from runstream_common.bus.messages import CONTENT_TYPE, EVENT_ID, EVENT_TYPE, TARGET_GROUP, TRACEPARENT
from runstream_common.bus.subscription import dead_letter_topic
from runstream_common.bus.topics import JSON, TOPICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.descriptor import Descriptor

    from runstream_common.bus.topics import Topic

ASYNCAPI_VERSION: Final = "3.0.0"

_HEADERS: Final = {
    EVENT_ID: "Identity of the event, a UUIDv7; a repeat has the same one.",
    EVENT_TYPE: "Full name of the protobuf message.",
    CONTENT_TYPE: "Encoding of the value; the first of the topic's when it is missing.",
    TRACEPARENT: "W3C trace context of the publisher.",
    TARGET_GROUP: "Set on a replayed message: only this consumer group handles it.",
}
_INT32: Final = {"type": "integer", "format": "int32"}
_INT64: Final = {"type": "integer", "format": "int64"}
_INT64_TEXT: Final = {"type": "string", "format": "int64"}
"""Protobuf's JSON writes 64-bit integers as strings, since JavaScript's numbers cannot hold them. Topics that carry JSON
themselves have numbers: theirs are times and counts, far below 2**53."""

_NOT_FINITE: Final = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}

_SCALARS: Final[Mapping[int, Mapping[str, Any]]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
    FieldDescriptor.TYPE_DOUBLE: {"oneOf": [{"type": "number", "format": "double"}, _NOT_FINITE]},
    FieldDescriptor.TYPE_FLOAT: {"oneOf": [{"type": "number", "format": "float"}, _NOT_FINITE]},
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_UINT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_FIXED32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
}


def asyncapi_document(topics: Sequence[Topic] = TOPICS, *, version: str = "1") -> dict[str, Any]:
    """An AsyncAPI 3 document of every topic and its dead letters.

    Args:
        version: version of the contract, for the document's ``info``.
    """
    document: dict[str, Any] = {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Runstream events",
            "version": version,
            "description": "What services tell each other and anyone who listens. Delivery is at least once.",
        },
        "channels": {},
        "operations": {},
        "components": {"messages": {}, "schemas": {}},
    }
    for topic in topics:
        _add_topic(document, topic)
    return document


def _add_topic(document: dict[str, Any], topic: Topic) -> None:
    name = topic.message.rpartition(".")[2] or topic.name
    document["channels"][topic.name] = {
        "address": topic.name,
        "description": topic.summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }
    document["components"]["messages"][name] = _message(document, topic, name)
    document["operations"][f"publish-{topic.name}"] = _operation("send", topic.name, topic.summary)
    for group in topic.groups:
        document["operations"][f"consume-{topic.name}-{group}"] = _operation(
            "receive", topic.name, f"Consumer group {group}."
        )
        parked = dead_letter_topic(topic.name, group)
        document["channels"][parked] = {
            "address": parked,
            "description": f"Messages of {topic.name} that {group} could not apply, with the reason in headers.",
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(document: dict[str, Any], topic: Topic, name: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": name,
        "title": topic.summary,
        "contentType": topic.content_types[0] if topic.content_types else "application/octet-stream",
        "description": f"Value: {topic.message or 'bytes'} as {' or '.join(topic.content_types)}. Key: {topic.key}.",
        "headers": {
            "type": "object",
            "properties": {
                header: {"type": "string", "description": text} for header, text in _HEADERS.items()
            },
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}}},
    }
    descriptor = event_descriptor(topic.message) if topic.message else None
    if descriptor is not None:
        int64 = _INT64 if JSON in topic.content_types else _INT64_TEXT
        message["payload"] = _Schemas(document["components"]["schemas"], int64).reference(descriptor)
    if topic.name in EXAMPLES:
        message["examples"] = [{"payload": EXAMPLES[topic.name]}]
    return message


class _Schemas:
    """Adds the JSON schemas of messages to the document's, under the messages' full names.

    Args:
        int64: how 64-bit integers are written in the messages that are added.
    """

    def __init__(self, schemas: dict[str, Any], int64: Mapping[str, Any]) -> None:
        self._schemas = schemas
        self._int64 = int64

    def reference(self, descriptor: Descriptor) -> dict[str, Any]:
        """A reference to the schema of a message."""
        if descriptor.full_name not in self._schemas:
            self._schemas[descriptor.full_name] = {}  # stands there already should a message contain itself
            self._schemas[descriptor.full_name] = {
                "type": "object",
                "properties": {field.name: self._field(field) for field in descriptor.fields},
            }
        return {"$ref": f"#/components/schemas/{descriptor.full_name}"}

    def _field(self, field: FieldDescriptor) -> dict[str, Any]:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._value(kind.fields_by_name["value"])}
        one = self._value(field)
        return {"type": "array", "items": one} if field.is_repeated else one

    def _value(self, field: FieldDescriptor) -> dict[str, Any]:
        if field.message_type is not None:
            return self.reference(field.message_type)
        if field.enum_type is not None:
            return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
        return dict(_SCALARS.get(field.type, self._int64))
