"""Sends answers: adds what every answer carries, compresses those in memory, counts bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from runstream_gateway.edge.compression import LEAST_BYTES, accepts_gzip, gzipped, is_worth_it
from runstream_gateway.replies import PackedResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope, Send

    from runstream_gateway.edge.calls import Call
    from runstream_gateway.edge.security import Header

_VARY = (b"vary", b"Accept-Encoding")
_NO_BODY = frozenset({204, 304})


async def send_response(
    response: Response,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    call: Call,
    asked: Mapping[bytes, bytes],
    extra: Sequence[Header],
    is_gone: Callable[[], bool],
) -> None:
    """Send an answer.

    Args:
        response: what the handler gave.
        scope: ASGI's.
        receive: ASGI's.
        send: ASGI's.
        call: takes status and bytes.
        asked: the request's headers, names in lower case.
        extra: headers that every answer carries.
        is_gone: whether the client has left.

    Raises:
        ClientDisconnect: the client left while the answer streamed.
    """
    call.status = response.status_code
    body = getattr(response, "body", None)
    if not isinstance(body, bytes):
        await _send_stream(response, scope, receive, send, call, extra, is_gone)
        return
    headers = [*response.raw_headers, *extra]
    if len(body) >= LEAST_BYTES:
        packed = response.packed if isinstance(response, PackedResponse) else None
        body, headers = await _negotiated(body, packed, headers, asked)
    start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"" if response.status_code in _NO_BODY else body})
    call.sent_bytes = 0 if scope["method"] == "HEAD" else len(body)
    if response.background is not None:
        await response.background()


async def _negotiated(
    body: bytes, packed: bytes | None, headers: list[Header], asked: Mapping[bytes, bytes]
) -> tuple[bytes, list[Header]]:
    known = dict(headers)
    if b"content-encoding" in known or not is_worth_it(known.get(b"content-type", b"")):
        return body, headers
    headers = [*headers, _VARY]
    if not accepts_gzip(asked.get(b"accept-encoding", b"")):
        return body, headers
    if packed is None:
        packed = await gzipped(body)
    headers = [header for header in headers if header[0] != b"content-length"]
    headers += [(b"content-length", str(len(packed)).encode()), (b"content-encoding", b"gzip")]
    return packed, headers


async def _send_stream(
    response: Response,
    scope: Scope,
    receive: Receive,
    send: Send,
    call: Call,
    extra: Sequence[Header],
    is_gone: Callable[[], bool],
) -> None:
    call.is_event_stream = response.headers.get("content-type", "").startswith("text/event-stream")

    async def send_and_count(message: Message) -> None:
        if is_gone():
            # uvicorn drops what is sent to nobody without a pause, in which the cancellation could arrive.
            raise ClientDisconnect
        if message["type"] == "http.response.start":
            call.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        else:
            body: Any = message.get("body", b"")
            call.sent_bytes += len(body)
        await send(message)

    await response(scope, receive, send_and_count)
