"""Files as answers over HTTP: whole or a range, from memory or streamed, and only if the client has another one."""

from __future__ import annotations

import re
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
    from starlette.types import Receive, Scope, Send

    from runstream_gateway.files.objects import Objects

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


class Span(NamedTuple):
    """Bytes of a file: from the first, before the end."""

    first: int
    end: int


class FileReply(Response):
    """A file as an answer. It has no ``body``: the edge neither compresses nor gathers it.

    Args:
        fetched: the file with its content, or a request for it.
        objects: in the object store.
        headers: further headers; ``Content-Type`` among them.
        span: what to send; None for everything.
    """

    def __init__(
        self,
        fetched: pb.FetchArtifactResponse,
        objects: Objects,
        headers: Mapping[str, str],
        span: Span | None,
    ) -> None:
        size_bytes = fetched.artifact.size_bytes
        self._fetched = fetched
        self._objects = objects
        self._span = span or Span(0, size_bytes)
        self.status_code = 200 if span is None else 206
        self.background = None
        self._pieces: AsyncGenerator[bytes, None] | None = None
        self._first_piece = b""
        sent = {**headers, "Content-Length": str(self._span.end - self._span.first)}
        if span is not None:
            sent["Content-Range"] = f"bytes {span.first}-{span.end - 1}/{size_bytes}"
        self.init_headers(sent)

    async def prepare(self) -> None:
        """Wait for the first bytes: a store that is away can then still be told of.

        Raises:
            PlatformError: it is.
        """
        if not self._fetched.HasField("content") and self._span.first < self._span.end:
            self._pieces = self._objects.read(
                self._fetched.request, *self._span, self._fetched.artifact.size_bytes
            )
            self._first_piece = await anext(self._pieces)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        del receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._pieces is None:
            body = b"" if scope["method"] == "HEAD" else self._fetched.content[slice(*self._span)]
            await send({"type": "http.response.body", "body": body})
            return
        try:
            await send({"type": "http.response.body", "body": self._first_piece, "more_body": True})
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._pieces.aclose()


async def file_reply(
    fetched: pb.FetchArtifactResponse,
    objects: Objects,
    asked: Mapping[str, str],
    *,
    head: bool,
    file_name: str,
    content_type: str,
    cache_control: str = "",
) -> Response:
    """The answer for a file.

    Args:
        fetched: the file with its content, or a request for it.
        objects: in the object store.
        asked: headers of the request.
        head: whether only the headers are wanted.
        file_name: what a browser saves it as.
        content_type: media type.
        cache_control: header of this name.

    Raises:
        PlatformError: the content cannot be had.
    """
    artifact = fetched.artifact
    etag = f'"{artifact.digest}"'
    headers = {
        "Content-Type": content_type,
        # Never shown as a page of this host, whatever it is; the edge adds nosniff to every answer.
        "Content-Disposition": attachment(file_name),
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": formatdate(artifact.stored_time_ms / 1000, usegmt=True),
        **({"Cache-Control": cache_control} if cache_control else {}),
    }
    if _has_it(asked.get("if-none-match", ""), etag):
        return Response(status_code=304, headers={k: v for k, v in headers.items() if k != "Content-Type"})
    span = None
    if asked.get("if-range", etag) == etag:
        span = asked_span(asked.get("range", ""), artifact.size_bytes)
    if span is not None and span.first >= span.end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{artifact.size_bytes}"})
    reply = FileReply(fetched, objects, headers, span)
    if not head:
        await reply.prepare()
    return reply


def asked_span(text: str, size_bytes: int) -> Span | None:
    """What a Range header asks for (RFC 9110, 14.2).

    Args:
        text: the header; empty when there is none.
        size_bytes: of the file.

    Returns:
        None for everything: also for a header that is malformed or names several ranges, which a server may ignore. An empty
        span cannot be satisfied.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        wanted = int(match[2])
        return Span(max(size_bytes - wanted, 0), size_bytes) if wanted else Span(size_bytes, size_bytes)
    first = int(match[1])
    last = int(match[2]) if match[2] else size_bytes - 1
    if match[2] and last < first:
        return None
    return Span(first, min(last + 1, size_bytes))


def attachment(file_name: str) -> str:
    """Content-Disposition that makes a browser save a file (RFC 6266), for any Unicode name."""
    if file_name.isascii():
        return f"attachment; filename={_quoted(file_name)}"
    plain = file_name.encode("ascii", "ignore").decode() or "download"
    extended = quote(file_name.encode("utf-8", "replace"), safe="!#$&+-.^_`|~")
    return f"attachment; filename={_quoted(plain)}; filename*=UTF-8''{extended}"


def _quoted(text: str) -> str:
    text = "".join(character for character in text if character.isprintable())
    if _TOKEN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _has_it(if_none_match: str, etag: str) -> bool:
    names = [name.strip().removeprefix("W/") for name in if_none_match.split(",")]
    return etag in names or names == ["*"]
