"""The protobuf messages that travel on the bus, found by name."""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
from typing import TYPE_CHECKING, NoReturn

import runstream_proto.events.v1 as events_package
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError

from runstream_common.bus.messages import CONTENT_TYPE, EVENT_TYPE
from runstream_common.bus.topics import JSON, find_topic

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message as Event

    from runstream_common.bus.messages import Message


@functools.cache
def event_descriptor(full_name: str) -> Descriptor | None:
    """The descriptor of an event, such as ``runstream.events.v1.RunChanged``; None for an unknown name."""
    for module in pkgutil.iter_modules(events_package.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{events_package.__name__}.{module.name}")
    try:
        return Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None


def event_as_json(full_name: str, value: bytes) -> str:
    """The event as JSON; empty when its type is unknown or the value is not of that type."""
    descriptor = event_descriptor(full_name)
    if descriptor is None:
        return ""
    event: Event = message_factory.GetMessageClass(descriptor)()
    try:
        event.ParseFromString(value)
        return json_format.MessageToJson(event, preserving_proto_field_name=True, indent=None)
    except (DecodeError, json_format.SerializeToJsonError):
        return ""


def message_as_json(message: Message) -> str:
    """A message's value as JSON text on one line; empty when it has no JSON form or is not what it claims to be.

    The header says what the value is, and without it the topic: the first of its content types.
    """
    topic = find_topic(message.topic)
    content_type = message.headers.get(CONTENT_TYPE) or next(iter(topic.content_types), "")
    if content_type.startswith(JSON):
        return _one_line(message.value)
    return event_as_json(message.headers.get(EVENT_TYPE) or topic.message, message.value)


def _one_line(value: bytes) -> str:
    """JSON as its writer wrote it, unless that spreads over lines; empty for what is no JSON."""
    try:
        text = value.decode()
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return ""
    return text if "\n" not in text and "\r" not in text else json.dumps(document, ensure_ascii=False)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
