"""The ASGI application: every request passes here, from its headers to the last byte of its answer."""

from __future__ import annotations

import asyncio
import re
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import REGISTRY
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from runstream_gateway.edge import faults
from runstream_gateway.edge.access_log import AccessLog
from runstream_gateway.edge.bodies import WholeRequest, read_body
from runstream_gateway.edge.calls import Call, Calls, traced
from runstream_gateway.edge.protocol import ON_DISCONNECT
from runstream_gateway.edge.refusals import Refusal, overloaded
from runstream_gateway.edge.routing import RouteTable
from runstream_gateway.edge.security import OPEN_PATHS, Security
from runstream_gateway.edge.sending import send_response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import CollectorRegistry
    from starlette.types import Message, Receive, Scope, Send

    from runstream_gateway.edge.routing import BoundRoute
    from runstream_gateway.routes import Route
    from runstream_gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

CLIENT_LEFT = 499
"""nginx's status for a client that closed the connection; never sent, only counted and logged."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
UNPREFIXED_PATHS = ("/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/")
"""Served without the prefix too, as in MLflow: clients build these from artifact locations."""


class Application:
    """Answers HTTP requests.

    Args:
        routes: what the doors offer.
        settings: limits, hosts, origins, logging.
        registry: where requests are counted.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        settings: GatewaySettings,
        *,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._table = RouteTable(routes, default_max_body_bytes=settings.http_max_body_bytes)
        self._security = Security(settings)
        self.access_log = AccessLog.of(settings)
        self._calls = Calls(self.access_log, registry)
        self._prefix = settings.http_prefix
        self._max_in_flight = settings.http_max_concurrent_requests
        self._timeout_seconds = settings.http_request_timeout_seconds
        self._event_streams: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI; other protocols than HTTP are not spoken."""
        if scope["type"] != "http":
            raise RuntimeError(f"the gateway speaks HTTP, not {scope['type']}")
        headers = dict(scope["headers"])
        call = Call(scope["method"], scope["path"], _request_id(headers), (scope.get("client") or ("",))[0])
        self._calls.begin(call)
        try:
            with traced(call, headers):
                await self._attend(scope, receive, send, call, headers)
        finally:
            self._calls.end(call)

    def end_event_streams(self) -> None:
        """End the answers that would go on for as long as their client listens."""
        for task in self._event_streams:
            task.cancel()

    async def _attend(
        self, scope: Scope, receive: Receive, send: Send, call: Call, headers: Mapping[bytes, bytes]
    ) -> None:
        left = _Leaving(scope)
        counted = partial(_receive_counted, receive, call)
        try:
            response = await self._answer(scope, counted, call, headers, left)
            if isinstance(response, Response) and not hasattr(response, "body"):
                left.may_cancel()
                self._watch_event_stream(response)
            extra = [
                *self._security.headers(call.path, headers),
                (b"x-request-id", call.request_id.encode()),
            ]
            await send_response(
                response,
                scope,
                counted,
                send,
                call=call,
                asked=headers,
                extra=extra,
                is_gone=lambda: left.happened,
            )
        except ClientDisconnect:
            call.status = CLIENT_LEFT
        except Exception:
            # The answer has begun and cannot become an error: uvicorn closes the connection, so that the client
            # sees it end too early.
            log.exception("answer_broken_off", route=call.route, request_id=call.request_id)
        except asyncio.CancelledError:
            call.status = CLIENT_LEFT
            if not left.happened:
                raise
        finally:
            left.forget()

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        call: Call,
        headers: Mapping[bytes, bytes],
        left: _Leaving,
    ) -> Response:
        path = self._inner_path(call.path)
        if path is None:
            return self._outside(call.path, headers)
        refused = self._security.refusal(call.method, path, headers)
        if refused is not None:
            return refused
        if self._calls.in_flight > self._max_in_flight and path not in OPEN_PATHS:
            return overloaded().reply()
        found = self._table.find(call.method, path)
        if found is None:
            return self._no_route(call.method, path, headers)
        route, scope["path_params"] = found
        call.route = route.name
        try:
            if not route.changes_state:
                left.may_cancel()
            return await self._handled(route, scope, receive, headers)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - every error becomes an answer, and is logged
            return faults.reply_to(error, route=route.name, wants_page=faults.wants_page(path, headers))

    async def _handled(
        self, route: BoundRoute, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]
    ) -> Response:
        if route.streams_body:
            return await route.handler(Request(scope, receive))
        timer = asyncio.timeout(self._timeout_seconds)
        try:
            async with timer:
                body = await read_body(receive, headers, route.max_body_bytes)
                return await route.handler(WholeRequest(scope, receive, body))
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise Refusal(
                504, "DEADLINE_EXCEEDED", f"The request took longer than {self._timeout_seconds:g} s."
            ) from error

    def _inner_path(self, path: str) -> str | None:
        """The path behind the prefix; None when it is outside."""
        prefix = self._prefix
        if not prefix or path.startswith(UNPREFIXED_PATHS):
            return path
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] == "/":
            return path[len(prefix) :]
        return None

    def _outside(self, path: str, headers: Mapping[bytes, bytes]) -> Response:
        # The web UI's relative addresses work only below a path that ends in a slash.
        if path in (self._prefix, "/"):
            return RedirectResponse(self._prefix + "/", status_code=308)
        return faults.not_found(path, wants_page=faults.wants_page(path, headers))

    def _no_route(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Response:
        allowed = self._table.allowed(path)
        wants_page = faults.wants_page(path, headers)
        if not allowed:
            return faults.not_found(path, wants_page=wants_page)
        if method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join([*allowed, "OPTIONS"])})
        return faults.not_allowed(method, allowed, wants_page=wants_page)

    def _watch_event_stream(self, response: Response) -> None:
        task = asyncio.current_task()
        if task is not None and response.headers.get("content-type", "").startswith("text/event-stream"):
            self._event_streams.add(task)
            task.add_done_callback(self._event_streams.discard)


class _Leaving:
    """Ends the work for a client that closes its connection, where that is safe.

    Args:
        scope: the request's, in which the protocol looks for what to call.
    """

    __slots__ = ("_scope", "_task", "happened")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._task = asyncio.current_task()
        self.happened = False

    def may_cancel(self) -> None:
        """From now on the task is cancelled when the client leaves."""
        self._scope[ON_DISCONNECT] = self._cancel

    def forget(self) -> None:
        """The answer is through."""
        self._scope.pop(ON_DISCONNECT, None)

    def _cancel(self) -> None:
        self.happened = True
        if self._task is not None:
            self._task.cancel()


async def _receive_counted(receive: Receive, call: Call) -> Message:
    message = await receive()
    if message["type"] == "http.request":
        call.received_bytes += len(message.get("body", b""))
    return message


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given is not None and REQUEST_ID.fullmatch(given):
        return given.decode()
    return uuid.uuid4().hex
