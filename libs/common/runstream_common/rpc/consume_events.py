"""The stream behind ConsumeEvents: one event goes out, one settlement comes in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError
from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream_common.errors import FailedPrecondition, InvalidArgument
from runstream_common.rpc.events import event_answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine

    from runstream_common.bus.api import Bus
    from runstream_common.bus.consuming import EventConsumer

T = TypeVar("T")

MAX_REASON_CHARS = 100


async def consume_events(
    bus: Bus, requests: AsyncIterator[pb.ConsumeEventsRequest]
) -> AsyncGenerator[pb.ConsumeEventsResponse, None]:
    """Answers of the stream, until the client ends it; what is not settled then is given again.

    Raises:
        InvalidArgument: a request lacks something.
        FailedPrecondition: a request comes out of turn.
        PlatformError: as of ``Bus.consume``.
    """
    start = _start_of(await _next_of(requests))
    async with bus.consume(start.topic, start.group, from_beginning=start.from_beginning) as consumer:
        yield pb.ConsumeEventsResponse(started=pb.ConsumerStarted(created=consumer.created))
        steps = _Steps(requests)
        try:
            while (message := await steps.unless_ended(consumer.next())) is not None:
                yield pb.ConsumeEventsResponse(event=event_answer(message))
                step = await steps.next()
                if step is None:
                    return
                await _settle(consumer, step)
        finally:
            await steps.close()


class _Steps:
    """The client's requests after the first. One is always waited for, so that an end is noticed at once."""

    def __init__(self, requests: AsyncIterator[pb.ConsumeEventsRequest]) -> None:
        self._requests = requests
        self._reading = asyncio.create_task(self._read())

    async def next(self) -> pb.ConsumeEventsRequest | None:
        """The next request; None when the client has ended the stream."""
        step = await self._reading
        self._reading = asyncio.create_task(self._read())
        return step

    async def unless_ended(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work returns; None when the client ends the stream before.

        Raises:
            FailedPrecondition: the client settles something while there is nothing to settle.
        """
        working = asyncio.create_task(work)
        try:
            await asyncio.wait({working, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if self._reading.result() is None:
                return None
            raise FailedPrecondition("there is no event in hand", reason="NO_EVENT_TO_SETTLE")
        finally:
            await _ended(working)

    async def close(self) -> None:
        """Wait for no more requests."""
        await _ended(self._reading)

    async def _read(self) -> pb.ConsumeEventsRequest | None:
        return await _next_of(self._requests)


async def _next_of(requests: AsyncIterator[pb.ConsumeEventsRequest]) -> pb.ConsumeEventsRequest | None:
    """The next request; None at the end. What is no request at all is told as such: grpc only says that it failed."""
    try:
        return await anext(requests, None)
    except DecodeError as error:
        raise InvalidArgument.of(
            "request", "is not a message of this method's request type", reason="MALFORMED_PROTOBUF"
        ) from error


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # retrieved here: whoever wanted the result is gone


def _start_of(request: pb.ConsumeEventsRequest | None) -> pb.StartConsuming:
    if request is None or request.WhichOneof("step") != "start":
        raise InvalidArgument.of("start", "is required in the first request")
    for field in ("topic", "group"):
        require_name(f"start.{field}", getattr(request.start, field))
    return request.start


def require_name(field: str, value: str) -> None:
    """Raise InvalidArgument when a name is missing, or has a character that no name of ours has."""
    if not value:
        raise InvalidArgument.of(field, "is required")
    if not value.isprintable():
        raise InvalidArgument.of(field, "must not contain control characters")


async def _settle(consumer: EventConsumer, step: pb.ConsumeEventsRequest) -> None:
    kind = step.WhichOneof("step")
    if kind == "acknowledge":
        await consumer.acknowledge()
    elif kind == "reject":
        reject = step.reject
        if not reject.reason or len(reject.reason) > MAX_REASON_CHARS:
            raise InvalidArgument.of("reject.reason", f"takes 1 to {MAX_REASON_CHARS} characters")
        await consumer.reject(reject.reason, reject.detail, max(1, reject.attempts))
    else:
        raise InvalidArgument.of("step", "must be acknowledge or reject after the first request")
