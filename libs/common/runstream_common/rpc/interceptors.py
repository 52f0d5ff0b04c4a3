"""What surrounds every call: errors to statuses, a log line, metrics, a span, a deadline.

One interceptor does all of it, once per call and nothing per message: the ingest stream carries
thousands of messages a second through a single call.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runstream_common.errors import DeadlineExceeded, Internal, InvalidArgument, PlatformError
from runstream_common.metrics import rpc_metrics
from runstream_common.rpc.status import status_code, to_status
from runstream_common.rpc.streams import OpenStreams
from runstream_common.telemetry import tracer, tracing_enabled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from prometheus_client import CollectorRegistry

    from runstream_common.settings import GrpcSettings, ObservabilitySettings

log = structlog.get_logger(__name__)
# Asked before a line is put together that is almost never wanted: once for every call.
_levels = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

OUR_FAULTS = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
    }
)
"""They tell of our own trouble; other refusals are the caller's business and are logged at info."""


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Wraps every method of the server.

    - ``PlatformError`` becomes its status with details; anything else becomes INTERNAL with an error id,
      and its text stays in the log.
    - A request that is not of its type is INVALID_ARGUMENT.
    - A unary call whose client set no deadline gets ``default_deadline_seconds``; streams have none.

    Args:
        settings: the default deadline.
        observability: what counts as slow.
        registry: where the metrics go.
    """

    def __init__(
        self, settings: GrpcSettings, observability: ObservabilitySettings, registry: CollectorRegistry
    ) -> None:
        self._deadline_seconds = settings.default_deadline_seconds
        self._slow_seconds = observability.slow_rpc_ms / 1000
        self._registry = registry
        self._wrapped: dict[str, tuple[Any, Any]] = {}
        self.streams = OpenStreams()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The method's handler, wrapped once per method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = (handler, self._wrap(handler, method))
            self._wrapped[method] = known
        return known[1]

    def _wrap(self, handler: Any, method: str) -> Any:
        call = _Call(method, self._registry, self._slow_seconds, streaming=_is_streaming(handler))
        behaviour = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        if not (asyncio.iscoroutinefunction(behaviour) or _is_generator(behaviour)):
            # grpc runs plain functions in a thread pool; only its own reflection service has them.
            return handler
        if handler.response_streaming:
            wrapped = self._answering_stream(behaviour, call, request_streaming=handler.request_streaming)
        elif handler.request_streaming:
            wrapped = self._taking_stream(behaviour, call)
        else:
            wrapped = self._unary(behaviour, call)
        read = handler.request_deserializer
        if read is not None and not handler.request_streaming:
            read = _forgiving(read)
        return _constructor(handler)(wrapped, read, handler.response_serializer)

    def _unary(self, behaviour: Any, call: _Call) -> Any:
        seconds = self._deadline_seconds

        async def answer(request: Any, context: Context) -> Any:
            async with call.surround(context):
                _require_readable(request)
                if context.time_remaining() is not None:
                    return await behaviour(request, context)
                async with _default_deadline(seconds):
                    return await behaviour(request, context)

        return answer

    def _taking_stream(self, behaviour: Any, call: _Call) -> Any:
        streams = self.streams

        async def answer(requests: Any, context: Context) -> Any:
            async with call.surround(context):
                with streams.track(request_streaming=True):
                    return await behaviour(requests, context)

        return answer

    def _answering_stream(self, behaviour: Any, call: _Call, *, request_streaming: bool) -> Any:
        # A coroutine that writes, not a generator around a generator: that would cost a hop a message.
        streams = self.streams
        is_generator = _is_generator(behaviour)

        async def write(request: Any, context: Context) -> None:
            async with call.surround(context):
                _require_readable(request)
                with streams.track(request_streaming=request_streaming):
                    if not is_generator:
                        await behaviour(request, context)
                        return
                    async with contextlib.aclosing(behaviour(request, context)) as messages:
                        async for message in messages:
                            await context.write(message)

        return write


_UNREADABLE = object()
"""Stands for a request that is not of its type. grpc itself would answer UNKNOWN, unlogged and uncounted."""


def _forgiving(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read_or_mark(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return _UNREADABLE

    return read_or_mark


def _require_readable(request: Any) -> None:
    if request is _UNREADABLE:
        raise InvalidArgument.of(
            "request", "is not a message of this method's request type", reason="MALFORMED_PROTOBUF"
        )


class _Call:
    """What is done around each call of one method."""

    def __init__(
        self, method: str, registry: CollectorRegistry, slow_seconds: float, *, streaming: bool
    ) -> None:
        metrics = rpc_metrics(registry)
        self._method = method
        self._streaming = streaming
        self._slow_seconds = slow_seconds
        self._handled = metrics.handled
        self._seconds = metrics.seconds.labels(method)
        self._in_flight = metrics.in_flight.labels(method)
        self._handled_ok = metrics.handled.labels(method, grpc.StatusCode.OK.name)

    @contextlib.asynccontextmanager
    async def surround(self, context: Context) -> AsyncIterator[None]:
        started = time.perf_counter()
        self._in_flight.inc()
        code = grpc.StatusCode.CANCELLED
        try:
            with _trace(self._method, context) as span:
                try:
                    yield
                    code = _code_set_by_handler(context)
                except (grpc.aio.AbortError, asyncio.CancelledError):
                    code = _code_set_by_handler(context, grpc.StatusCode.CANCELLED)
                    raise
                except Exception as error:  # noqa: BLE001 - every error becomes a status, and is logged
                    status = to_status(self._explained(error))
                    code = status.code
                    await context.abort(status.code, status.details, status.trailing_metadata)
                finally:
                    _note_code(span, code)
        finally:
            self._in_flight.dec()
            self._ended(code, time.perf_counter() - started)

    def _explained(self, error: Exception) -> PlatformError:
        """The error that the client is told, after it is logged."""
        if not isinstance(error, PlatformError):
            error_id = uuid.uuid4().hex
            log.error("rpc_failed", method=self._method, error_id=error_id, exc_info=error)
            return Internal(f"internal error {error_id}", reason="INTERNAL", metadata={"error_id": error_id})
        code = status_code(error)
        write = log.warning if code in OUR_FAULTS else log.info
        write(
            "rpc_refused",
            method=self._method,
            code=code.name,
            reason=error.reason,
            error=error.message,
        )
        return error

    def _ended(self, code: grpc.StatusCode, seconds: float) -> None:
        if code is grpc.StatusCode.OK:
            self._handled_ok.inc()
        else:
            self._handled.labels(self._method, code.name).inc()
        if not self._streaming:
            self._seconds.observe(seconds)
            if seconds >= self._slow_seconds:
                log.warning("rpc_slow", method=self._method, code=code.name, ms=round(seconds * 1000, 1))
                return
        if _levels.isEnabledFor(logging.DEBUG):
            log.debug("rpc_ended", method=self._method, code=code.name, ms=round(seconds * 1000, 1))


@contextlib.asynccontextmanager
async def _default_deadline(seconds: float) -> AsyncIterator[None]:
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            yield
    except TimeoutError as error:
        if timer.expired():
            raise DeadlineExceeded(f"the call took longer than {seconds:g} s") from error
        raise


@contextlib.contextmanager
def _trace(method: str, context: Context) -> Iterator[trace.Span | None]:
    """A span when tracing is on; else the caller's trace id, if it sent one, for logs and headers."""
    metadata: Any = context.invocation_metadata() or ()
    carrier = {key: value for key, value in metadata if key in {"traceparent", "tracestate"}}
    if not carrier and not tracing_enabled():
        yield None
        return
    parent = TraceContextTextMapPropagator().extract(carrier)
    if tracing_enabled():
        with tracer().start_as_current_span(
            method.removeprefix("/"),
            context=parent,
            kind=trace.SpanKind.SERVER,
            # A refusal is no fault of the server's: _note_code decides what is.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span
        return
    token = otel_context.attach(parent)
    try:
        yield None
    finally:
        otel_context.detach(token)


def _note_code(span: trace.Span | None, code: grpc.StatusCode) -> None:
    if span is None:
        return
    span.set_attribute("rpc.system", "grpc")
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code in OUR_FAULTS:
        span.set_status(trace.StatusCode.ERROR, code.name)


def _code_set_by_handler(context: Context, default: grpc.StatusCode = grpc.StatusCode.OK) -> grpc.StatusCode:
    code: Any = context.code()
    if isinstance(code, int):
        code = next((item for item in grpc.StatusCode if item.value[0] == code), default)
    return default if code in (None, grpc.StatusCode.OK) else code


def _is_streaming(handler: Any) -> bool:
    return bool(handler.request_streaming or handler.response_streaming)


def _is_generator(behaviour: Any) -> bool:
    return inspect.isasyncgenfunction(behaviour)


def _constructor(handler: Any) -> Any:
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    return kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
