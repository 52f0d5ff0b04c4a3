"""How the blocking client sends; `async_client` has the awaited twin."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from runstream_common.rpc.status import from_rpc_error

from runstream.connection import Connection, call_metadata
from runstream.query.client_calls import DEFAULT_TIMEOUT_SECONDS
from runstream.query.client_waiting import default_url, wait_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runstream.connection import Deployment
    from runstream.query.client_calls import Call, Flow, Page, Paged, StreamCall, Wait, WaitFor

T = TypeVar("T")
Request = TypeVar("Request", bound="Paged")


class BlockingSender:
    """Drives flows over blocking channels; thread-safe.

    Args:
        url: see `connection.target_of`.
        timeout_seconds: deadline of every call except streams.
        connection: an open connection to share; it is then not closed here.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        connection: Connection | None = None,
    ) -> None:
        self._connection = connection or Connection(default_url(url))
        self._owns_connection = connection is None
        self._timeout_seconds = timeout_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channels; iterators that are under way end with an error."""
        if self._owns_connection:
            self._connection.close()

    def deployment(self) -> Deployment:
        """The services of this deployment with their addresses."""
        return self._connection.deployment()

    def _wait(self, wait_for: WaitFor, seconds: float) -> Wait:
        return wait_of(wait_for, seconds, self._connection.target)

    def _run(self, flow: Flow[T]) -> T:
        """Drive a flow: send each call that it yields, give it the answer or the error."""
        resume: Callable[[], Call[Any]] = partial(next, flow)
        while True:
            try:
                call = resume()
            except StopIteration as end:
                result: T = end.value
                return result
            resume = self._answered(flow, call)

    def _answered(self, flow: Flow[T], call: Call[Any]) -> Callable[[], Call[Any]]:
        try:
            answer = self._send(call)
        except grpc.RpcError as error:
            return partial(flow.throw, caused(error))
        return partial(flow.send, call.translate(answer))

    def _send(self, call: Call[Any]) -> Any:
        send = self._channel(call).unary_unary(call.method, type(call.request).SerializeToString, call.parse)
        timeout = self._timeout_seconds + call.extra_seconds
        return send(call.request, timeout=timeout, metadata=call_metadata())

    def _stream(self, opening: Flow[StreamCall[T]]) -> Iterator[T]:
        call = self._run(opening)
        open_stream = self._channel(call).unary_stream(
            call.method, type(call.request).SerializeToString, call.parse
        )
        answers: Any = open_stream(call.request, metadata=call_metadata())
        try:
            for answer in answers:
                yield call.translate(answer)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            # Reached also when the reader leaves early, which must not keep the server sending.
            answers.cancel()

    def _pages(self, first: Flow[Request], read: Callable[[Request], Flow[Page[T]]]) -> Iterator[T]:
        request = self._run(first)
        while True:
            page = self._run(read(request))
            yield from page.items
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _channel(self, call: Call[Any]) -> grpc.Channel:
        if call.target is not None:
            return self._connection.to_target(call.target)
        return self._connection.channel(call.service)


class Namespace:
    """Methods of a client that are grouped under a name, such as `client.models`; the client sends for them.

    Args:
        sender: the client.
    """

    def __init__(self, sender: BlockingSender) -> None:
        self._sender = sender

    def _run(self, flow: Flow[T]) -> T:
        return self._sender._run(flow)  # noqa: SLF001 - a part of the client

    def _pages(self, first: Flow[Request], read: Callable[[Request], Flow[Page[T]]]) -> Iterator[T]:
        return self._sender._pages(first, read)  # noqa: SLF001 - a part of the client

    def _wait(self, wait_for: WaitFor, seconds: float) -> Wait:
        return self._sender._wait(wait_for, seconds)  # noqa: SLF001 - a part of the client


def caused(error: grpc.RpcError) -> Exception:
    """The platform error with its gRPC error as cause."""
    raised = from_rpc_error(error)
    raised.__cause__ = error
    return raised
