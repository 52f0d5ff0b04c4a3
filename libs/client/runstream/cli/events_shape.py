"""An event as a line for people and as JSON for programs."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from runstream.query.frames import time_of, time_text

if TYPE_CHECKING:
    from runstream_proto.common.v1 import operations_service_pb2 as pb

MAX_SHOWN_CHARS = 400


def event_shape(event: pb.TailEventsResponse) -> dict[str, Any]:
    """The event as `--json` prints it."""
    position = event.position
    return {
        "topic": position.topic,
        "partition": position.partition,
        "offset": position.offset,
        "key": event.key,
        "timestamp": time_text(time_of(event.timestamp_ms)),
        "headers": dict(event.headers),
        "value": json.loads(event.json) if event.json else None,
        "value_base64": None if event.json else base64.b64encode(event.value).decode(),
    }


def event_line(event: pb.TailEventsResponse) -> str:
    """The event on one line, cut if it is long."""
    moment = time_of(event.timestamp_ms).astimezone()
    text = " ".join(event.json.split()) if event.json else f"{len(event.value)} bytes"
    shown = text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
    kind = event.headers.get("event-type", "")
    return f"{moment:%H:%M:%S} {event.position.partition}:{event.position.offset} {event.key} {kind} {shown}"
