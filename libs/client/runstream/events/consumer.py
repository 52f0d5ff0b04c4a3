"""A member of a durable consumer group, through any service; it comes back when the service was away."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
from runstream_common.bus.policy import RetryPolicy
from runstream_common.errors import Aborted, PlatformError, ResourceExhausted, Unavailable
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.common.v1 import operations_service_pb2 as pb

from runstream.connection import call_metadata
from runstream.query.async_sending import AsyncSender
from runstream.query.client_calls import METADATA, StreamCall, method_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METHOD = method_path(pb.DESCRIPTOR.services_by_name["OperationsService"].full_name, "ConsumeEvents")
LAST_SETTLEMENT_SECONDS = 40.0
"""How long the end waits for the last settlement; on the service's side it may take half a minute."""

_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
_TRANSIENT = (Unavailable, ResourceExhausted, Aborted)
_ACKNOWLEDGE = pb.ConsumeEventsRequest(acknowledge=pb.AcknowledgeEvent())


class GroupConsumer(AsyncSender):
    """Events one by one; each is settled before the next, and comes again, also elsewhere, until it is.

    Args:
        url: see `connection.target_of`.
        topic: topic without the deployment's prefix.
        group: consumer group.
        from_beginning: where a new group starts: with what the bus still holds instead of with what comes next.
        service: the service to ask; each reaches every topic.
        on_lost: told when the service is away, with the error, once for each time.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        topic: str,
        group: str,
        from_beginning: bool = False,
        service: str = METADATA,
        on_lost: Callable[[PlatformError], None] = lambda _error: None,
    ) -> None:
        super().__init__(url)
        start = pb.StartConsuming(topic=topic, group=group, from_beginning=from_beginning)
        self._start = pb.ConsumeEventsRequest(start=start)
        self._service = service
        self._on_lost = on_lost
        self._retry = RetryPolicy(first_delay_seconds=0.2, max_delay_seconds=5.0)
        self._call: Any = None
        self._reading: asyncio.Task[Any] | None = None
        # Acknowledged, but the stream may have broken before the service knew.
        self._unconfirmed: tuple[str, int, int] | None = None
        self._in_hand: tuple[str, int, int] | None = None

    async def connect(self) -> bool:
        """Join the group; from then on nothing that is published escapes it.

        Returns:
            Whether the group is new.

        Raises:
            PlatformError: the service cannot be reached, or refuses.
        """
        request = StreamCall(
            METHOD, self._start, pb.ConsumeEventsResponse.FromString, _same, service=self._service
        )
        with _mapped():
            channel = await self._channel(request)
            open_stream: Any = channel.stream_stream(
                METHOD, pb.ConsumeEventsRequest.SerializeToString, request.parse
            )
            self._call = open_stream(metadata=call_metadata())
            await self._call.write(self._start)
            answer = await self._read()
        return bool(answer.started.created)

    async def next(self) -> pb.TailEventsResponse:
        """Wait for the next event, also while the service is away.

        Raises:
            PlatformError: the service refuses for good, for instance because the group was deleted.
        """
        self._in_hand = None
        while True:
            reconnected = self._call is None
            if reconnected:
                await self._reconnect()
            try:
                with _mapped():
                    event = (await self._read()).event
                    place = (event.position.topic, event.position.partition, event.position.offset)
                    if not (reconnected and place == self._unconfirmed):
                        self._in_hand, self._unconfirmed = place, None
                        return event
                    # It was handled; only its acknowledgement was lost.
                    await self._call.write(_ACKNOWLEDGE)
            except _TRANSIENT as error:
                await self._lost(error)

    async def acknowledge(self) -> None:
        """Say that the event was handled. When the service is away, that is said as soon as the event comes again."""
        self._unconfirmed = self._in_hand
        await self._settle(_ACKNOWLEDGE)

    async def reject(self, reason: str, detail: str, attempts: int) -> None:
        """Give the event up: it goes to the group's dead letters. When the service is away, it comes again.

        Args:
            reason: UPPER_SNAKE, stable.
            detail: what to fix, for a person.
            attempts: how often it was tried.
        """
        step = pb.RejectEvent(reason=reason, detail=detail, attempts=attempts)
        await self._settle(pb.ConsumeEventsRequest(reject=step))

    async def leave(self) -> None:
        """Leave the group after what was settled has been committed.

        Raises:
            Unavailable: that is not known, and the last event may come again.
        """
        if self._call is None:
            if self._unconfirmed is not None:
                raise _uncertain()
            return
        try:
            async with asyncio.timeout(LAST_SETTLEMENT_SECONDS):
                with _mapped():
                    await self._call.done_writing()
                    while await self._answer() is not _EOF:
                        pass  # an event that was on its way; it is given to the next member
        except (PlatformError, TimeoutError) as error:
            raise _uncertain() from error
        finally:
            await self._drop()

    async def close(self) -> None:
        """Close the channels without more ado; what is in hand comes again."""
        await self._drop()
        await super().close()

    async def _settle(self, step: pb.ConsumeEventsRequest) -> None:
        self._in_hand = None
        if self._call is None:
            return
        try:
            with _mapped():
                await self._call.write(step)
        except _TRANSIENT as error:
            await self._lost(error)

    async def _read(self) -> pb.ConsumeEventsResponse:
        answer = await self._answer()
        if answer is _EOF:
            raise Unavailable("the service ended the stream")
        response: pb.ConsumeEventsResponse = answer
        return response

    async def _answer(self) -> Any:
        if self._reading is None:
            self._reading = asyncio.create_task(self._call.read())
        # A read that is cancelled cancels the call, and with it a settlement that is on its way.
        answer = await asyncio.shield(self._reading)
        self._reading = None
        return answer

    async def _drop(self) -> None:
        call, reading = self._call, self._reading
        self._call = self._reading = None
        if call is not None:
            call.cancel()
        if reading is not None:
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()  # retrieved here: nobody waits for it any more

    async def _lost(self, error: PlatformError) -> None:
        await self._drop()
        self._on_lost(error)

    async def _reconnect(self) -> None:
        attempt = 0
        while True:
            attempt += 1
            try:
                await self.connect()
            except _TRANSIENT:
                await self._drop()
                await asyncio.sleep(self._retry.delay_seconds(attempt))
            else:
                return


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    except asyncio.InvalidStateError as error:
        # What grpc says of a write on a call that has ended.
        raise Unavailable("the stream ended") from error


def _uncertain() -> Unavailable:
    return Unavailable(
        "the service went away before it confirmed the last event, which may come again",
        reason="SETTLEMENT_UNCERTAIN",
    )


def _same(answer: pb.ConsumeEventsResponse) -> pb.ConsumeEventsResponse:
    return answer
