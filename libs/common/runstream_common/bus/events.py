"""The protobuf messages that travel on the bus, found by name."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

import runstream_proto.events.v1 as events_package
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor


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
    event: Message = message_factory.GetMessageClass(descriptor)()
    try:
        event.ParseFromString(value)
        return json_format.MessageToJson(event, preserving_proto_field_name=True, indent=None)
    except (DecodeError, json_format.SerializeToJsonError):
        return ""
