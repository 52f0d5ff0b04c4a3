"""Events as they happen, as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct
from starlette.responses import StreamingResponse

from runstream_gateway.control.event_streams import Event, EventStreams, Listener, Missed
from runstream_gateway.control.values import Nothing, TopicName
from runstream_gateway.control_api.operations import Call, Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEARTBEAT_SECONDS: Final = 10.0
"""Proxies cut what is silent for a minute, and a client that has left is only noticed when something is sent."""

_GREETING: Final = b"retry: 2000\n: following\n\n"
_HEARTBEAT: Final = b": still here\n\n"


class EventsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which topics."""

    topic: Annotated[
        list[TopicName], Meta(min_length=1, max_length=10, description="Given once for each topic to follow")
    ]


def operations(streams: EventStreams) -> list[Operation]:
    """Operations of this area."""

    async def follow(call: Call[Nothing, EventsQuery, Nothing]) -> StreamingResponse:
        topics = list(dict.fromkeys(call.query.topic))
        streams.check(topics)
        return StreamingResponse(
            _frames(streams, topics),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return [
        Operation(
            method="GET",
            path="/events",
            run=follow,
            summary="Events of topics as they happen, as server-sent events",
            description=(
                "The name of each event is its topic, its data an `Event`. An event named `missed` carries a `Missed`: "
                "there is a hole. Nothing is repeated after a lost connection: whoever must see every event consumes "
                "under a consumer group over gRPC."
            ),
            tag="events",
            name="followEvents",
            query=EventsQuery,
            answer=Event,
            stream=True,
        )
    ]


async def _frames(streams: EventStreams, topics: list[str]) -> AsyncIterator[bytes]:
    with streams.listen(topics) as listener:
        yield _GREETING
        async for frame in _news(listener):
            yield frame


async def _news(listener: Listener) -> AsyncIterator[bytes]:
    while (news := await listener.take(HEARTBEAT_SECONDS)) is not None:
        yield b"".join(_frame(item) for item in news) or _HEARTBEAT


def _frame(item: Event | Missed) -> bytes:
    if isinstance(item, Missed):
        return b"event: missed\ndata: " + msgspec.json.encode(item) + b"\n\n"
    place = f"{item.topic}:{item.partition}:{item.offset}"
    return f"id: {place}\nevent: {item.topic}\ndata: ".encode() + msgspec.json.encode(item) + b"\n\n"
