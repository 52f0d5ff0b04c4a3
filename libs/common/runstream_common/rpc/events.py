"""An event of the bus as the operations API tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_proto.common.v1 import operations_service_pb2 as pb
from runstream_proto.common.v1.position_pb2 import BusPosition

from runstream_common.bus.events import message_as_json

if TYPE_CHECKING:
    from runstream_common.bus.messages import Message


MAX_JSON_BYTES = 1024 * 1024
"""Largest value that is also told as JSON. Protobuf's JSON takes a second for a few megabytes, and may be many times as
large as the value: an event must always fit into an answer, or its consumer would never get past it."""


def event_answer(message: Message) -> pb.TailEventsResponse:
    """One event with its place, its headers and its value, as bytes and, unless it is large, as JSON."""
    return pb.TailEventsResponse(
        position=BusPosition(topic=message.topic, partition=message.partition, offset=message.offset),
        key=message.key,
        headers=message.headers,
        timestamp_ms=message.timestamp_ms,
        value=message.value,
        json=message_as_json(message) if len(message.value) <= MAX_JSON_BYTES else "",
    )
