"""How the async client sends: the awaited twin of `client_sending`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.common.v1 import discovery_service_pb2 as discovery_pb
from runstream_proto.common.v1.discovery_service_pb2_grpc import DiscoveryServiceStub

from runstream.connection import (
    DISCOVERY_TIMEOUT_SECONDS,
    call_metadata,
    channel_options,
    deployment_of,
    target_of,
)
from runstream.query.client_calls import DEFAULT_TIMEOUT_SECONDS
from runstream.query.client_sending import caused
from runstream.query.client_waiting import default_url, wait_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from runstream.connection import Deployment
    from runstream.query.client_calls import Call, Flow, Page, Paged, StreamCall, Wait, WaitFor

T = TypeVar("T")
Request = TypeVar("Request", bound="Paged")


class AsyncSender:
    """Drives flows over asyncio channels, which belong to the event loop of the first call.

    Args:
        url: see `connection.target_of`.
        timeout_seconds: deadline of every call except streams.
    """

    def __init__(self, url: str | None = None, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._target = target_of(default_url(url))
        self._timeout_seconds = timeout_seconds
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._deployment: Deployment | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channels; iterators that are under way end with an error."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close(grace=None)

    async def deployment(self) -> Deployment:
        """The services of this deployment with their addresses; asked once."""
        if self._deployment is None:
            stub = DiscoveryServiceStub(self._to_target(self._target))
            request = discovery_pb.ListServicesRequest()
            try:
                answer = await stub.ListServices(request, timeout=DISCOVERY_TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                raise from_rpc_error(error) from error
            self._deployment = deployment_of(answer, self._target)
        return self._deployment

    def _wait(self, wait_for: WaitFor, seconds: float) -> Wait:
        return wait_of(wait_for, seconds, self._target)

    async def _run(self, flow: Flow[T]) -> T:
        """Drive a flow: send each call that it yields, give it the answer or the error."""
        resume: Callable[[], Call[Any]] = partial(next, flow)
        while True:
            try:
                call = resume()
            except StopIteration as end:
                result: T = end.value
                return result
            resume = await self._answered(flow, call)

    async def _answered(self, flow: Flow[T], call: Call[Any]) -> Callable[[], Call[Any]]:
        try:
            answer = await self._send(call)
        except grpc.RpcError as error:
            return partial(flow.throw, caused(error))
        return partial(flow.send, call.translate(answer))

    async def _send(self, call: Call[Any]) -> Any:
        channel = await self._channel(call)
        send = channel.unary_unary(call.method, type(call.request).SerializeToString, call.parse)
        timeout = self._timeout_seconds + call.extra_seconds
        return await send(call.request, timeout=timeout, metadata=call_metadata())

    async def _stream(self, opening: Flow[StreamCall[T]]) -> AsyncIterator[T]:
        call = await self._run(opening)
        channel = await self._channel(call)
        open_stream = channel.unary_stream(call.method, type(call.request).SerializeToString, call.parse)
        answers = open_stream(call.request, metadata=call_metadata())
        try:
            async for answer in answers:
                yield call.translate(answer)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            # Reached also when the reader leaves early, which must not keep the server sending.
            answers.cancel()

    async def _pages(
        self, first: Flow[Request], read: Callable[[Request], Flow[Page[T]]]
    ) -> AsyncIterator[T]:
        request = await self._run(first)
        while True:
            page = await self._run(read(request))
            for item in page.items:
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _channel(self, call: Call[Any]) -> grpc.aio.Channel:
        if call.target is not None:
            return self._to_target(call.target)
        return self._to_target((await self.deployment()).target(call.service))

    def _to_target(self, target: str) -> grpc.aio.Channel:
        channel = self._channels.get(target)
        if channel is None:
            channel = grpc.aio.insecure_channel(target, options=channel_options())
            self._channels[target] = channel
        return channel


class AsyncNamespace:
    """Methods of a client that are grouped under a name, such as `client.models`; the client sends for them.

    Args:
        sender: the client.
    """

    def __init__(self, sender: AsyncSender) -> None:
        self._sender = sender

    async def _run(self, flow: Flow[T]) -> T:
        return await self._sender._run(flow)  # noqa: SLF001 - a part of the client

    def _pages(self, first: Flow[Request], read: Callable[[Request], Flow[Page[T]]]) -> AsyncIterator[T]:
        return self._sender._pages(first, read)  # noqa: SLF001 - a part of the client

    def _wait(self, wait_for: WaitFor, seconds: float) -> Wait:
        return self._sender._wait(wait_for, seconds)  # noqa: SLF001 - a part of the client
