"""Events of the bus for many listeners: one tail a topic in this process, whoever listens to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import grpc
import structlog
from msgspec import Meta, Raw, Struct
from runstream_common.bus.messages import EVENT_ID, EVENT_TYPE
from runstream_common.bus.topics import TOPICS, find_topic
from runstream_common.errors import InvalidArgument, ResourceExhausted, Unavailable
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream_gateway.control.values import TimeMs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runstream_gateway.backends import Backends

log = structlog.get_logger(__name__)

ASKED_SERVICE: Final = "metadata"
MAX_LISTENERS: Final = 200
MAX_WAITING_EVENTS: Final = 1_000
"""A listener that is so far behind loses the oldest ones, and is told how many."""

MAX_VALUE_BYTES: Final = 64 * 1024
"""Larger values are left out: a page that shows events has no use for a batch of metrics that fills the screen."""

RETRY_SECONDS: Final = 1.0


class Event(Struct, frozen=True, kw_only=True):
    """One event of a topic."""

    topic: str
    partition: int
    offset: int
    key: Annotated[str, Meta(description="Message key, such as the model's name or the run's id")]
    time_ms: TimeMs
    event_id: Annotated[str, Meta(description="A repeat has the same; empty when the publisher gave none")]
    event_type: Annotated[str, Meta(description="Full name of the protobuf message")]
    size_bytes: Annotated[int, Meta(description="Of the value as it was published")]
    value: Annotated[
        Any, Meta(description="The value as JSON; null when it has no such form or is larger than 64 KiB")
    ]


class Missed(Struct, frozen=True):
    """A hole in a stream."""

    topic: Annotated[str, Meta(description="Empty when it concerns all topics of the stream")]
    count: Annotated[int, Meta(description="Events that were dropped; 0 when that is not known")]
    reason: str


class Listener:
    """What one listener has not taken yet."""

    def __init__(self) -> None:
        self._waiting: deque[Event | Missed] = deque()
        self._dropped = 0
        self._news = asyncio.Event()
        self._ended = False

    def put(self, item: Event | Missed) -> None:
        """Something new; the oldest goes when too much waits."""
        if len(self._waiting) >= MAX_WAITING_EVENTS:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(item)
        self._news.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._news.set()

    async def take(self, timeout_seconds: float) -> list[Event | Missed] | None:
        """Everything new; empty when the time passes without news, None at the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._news.wait()
        if self._ended:
            return None
        self._news.clear()
        news: list[Event | Missed] = list(self._waiting)
        self._waiting.clear()
        if self._dropped:
            news.insert(0, Missed("", self._dropped, "the listener was too slow"))
            self._dropped = 0
        return news


class EventStreams:
    """Follows a topic while anybody listens to it. A part of the process: its stop ends every stream."""

    name = "event streams"

    def __init__(self, backends: Backends) -> None:
        self._operations = backends.operations[ASKED_SERVICE]
        self._listeners: dict[str, set[Listener]] = {}
        self._tails: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def start(self) -> None:
        """Nothing to do before somebody listens."""

    async def stop(self) -> None:
        """End every stream, so that the HTTP server need not wait for its clients."""
        self._stopping = True
        for listener in set().union(*self._listeners.values()):
            listener.end()
        for task in self._tails.values():
            task.cancel()
        await asyncio.gather(*self._tails.values(), return_exceptions=True)

    @contextmanager
    def listen(self, topics: Sequence[str]) -> Iterator[Listener]:
        """Everything that is published on the topics from now on, once the tails have begun.

        Raises:
            InvalidArgument: there is no such topic.
            ResourceExhausted: as many listen as this process serves.
            Unavailable: the process stops.
        """
        self.check(topics)
        listener = Listener()
        for topic in topics:
            self._listeners.setdefault(topic, set()).add(listener)
            if topic not in self._tails:
                self._tails[topic] = asyncio.create_task(self._follow(topic))
        try:
            yield listener
        finally:
            for topic in topics:
                self._leave(topic, listener)

    def check(self, topics: Sequence[str]) -> None:
        """Raises what ``listen`` would."""
        if self._stopping:
            raise Unavailable("the gateway is stopping", reason="SERVER_STOPPING", retry_after_seconds=0.5)
        for topic in topics:
            if not find_topic(topic).message:
                known = ", ".join(item.name for item in TOPICS)
                raise InvalidArgument.of("topic", f"{topic[:50]!r} is no topic; there are {known}")
        if len(set().union(*self._listeners.values())) >= MAX_LISTENERS:
            raise ResourceExhausted(
                f"{MAX_LISTENERS} clients listen to events already",
                reason="TOO_MANY_LISTENERS",
                retry_after_seconds=5.0,
            )

    def _leave(self, topic: str, listener: Listener) -> None:
        listeners = self._listeners[topic]
        listeners.discard(listener)
        if not listeners:
            # On PostgreSQL every tail costs a copy of each message.
            del self._listeners[topic]
            self._tails.pop(topic).cancel()

    async def _follow(self, topic: str) -> None:
        told = False
        while True:
            try:
                async for answer in self._operations.TailEvents(pb.TailEventsRequest(topic=topic)):
                    told = False
                    self._tell(topic, _event(topic, answer))
                reason = "the tail ended"
            except grpc.RpcError as error:
                reason = from_rpc_error(error).message
            if not told:
                # Once an interruption, however often it takes to get back.
                log.warning("event_tail_interrupted", topic=topic, reason=reason)
                self._tell(topic, Missed(topic, 0, reason))
                told = True
            await asyncio.sleep(RETRY_SECONDS)

    def _tell(self, topic: str, item: Event | Missed) -> None:
        for listener in self._listeners.get(topic, ()):
            listener.put(item)


def _event(topic: str, answer: pb.TailEventsResponse) -> Event:
    shown = answer.json and len(answer.json) <= MAX_VALUE_BYTES
    return Event(
        topic=topic,
        partition=answer.position.partition,
        offset=answer.position.offset,
        key=answer.key,
        time_ms=answer.timestamp_ms,
        event_id=answer.headers.get(EVENT_ID, ""),
        event_type=answer.headers.get(EVENT_TYPE) or find_topic(topic).message,
        size_bytes=len(answer.value),
        value=Raw(answer.json.encode()) if shown else None,
    )
