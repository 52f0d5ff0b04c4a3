"""Requests that were signed for the object store, handed on by the gateway to where clients do not reach.

Whoever has such a URL has what it grants: the store compares the signature, which covers method, object and expiry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from runstream_common.errors import InvalidArgument
from runstream_common.object_store.keys import checked_key
from runstream_contract.names import is_uuid
from starlette.responses import Response

from runstream_gateway.mlflow_api.artifacts.answers import in_mlflows_words
from runstream_gateway.mlflow_api.artifacts.proxy import body_of
from runstream_gateway.mlflow_api.artifacts.public_urls import OBJECTS, UPLOADS
from runstream_gateway.mlflow_api.errors import missing
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import aiohttp
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from runstream_gateway.files.store import ArtifactFiles

_SIGNATURES = ("X-Signature", "X-Amz-Signature")
_PASSED_ON = ("content-length", "content-type", "range", "if-range", "if-none-match")
_PASSED_BACK = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Last-Modified",
    "Retry-After",
)


def routes(files: ArtifactFiles) -> list[Route]:
    """Routes of this area."""
    api = HandedOn(files)
    return [
        Route("GET", OBJECTS + "/{key:path}", api.get),
        Route("PUT", OBJECTS + "/{key:path}", api.put, max_body_bytes=0),
        Route("PUT", UPLOADS + "/{upload_id}", api.upload, max_body_bytes=0),
    ]


class HandedOn:
    """Passes requests and answers through."""

    def __init__(self, files: ArtifactFiles) -> None:
        self._files = files

    async def get(self, request: Request) -> Response:
        """GET and HEAD of an object, ranges too."""
        answer = StoreAnswer(self._pieces(request))
        await answer.prepare()
        return answer

    async def put(self, request: Request) -> Response:
        """PUT of a part."""
        body = body_of(request)
        url = await self._url(request)
        requests = self._files.objects.requests
        try:
            async with requests.send("PUT", url, _passed_on(request), body.rest()) as answer:
                content = await answer.read()
        except Exception:
            if body.error is not None:
                raise body.error from None
            raise
        return Response(content, status_code=answer.status, headers=_passed_back(answer))

    async def upload(self, request: Request) -> Response:
        """PUT of all content of an upload, which becomes a file by it."""
        upload_id: str = request.path_params["upload_id"]
        if not is_uuid(upload_id):
            raise missing("There is no such upload.")
        with in_mlflows_words(upload_id):
            artifact = await self._files.send_whole(upload_id, body_of(request))
        return Response(status_code=200, headers={"ETag": f'"{artifact.digest}"'})

    async def _pieces(self, request: Request) -> AsyncGenerator[aiohttp.ClientResponse | bytes, None]:
        """First the answer's head, then its body."""
        url = await self._url(request)
        async with self._files.objects.requests.send(request.method, url, _passed_on(request)) as answer:
            yield answer
            async for piece in answer.content.iter_any():
                yield piece

    async def _url(self, request: Request) -> str:
        """Where the store has what is asked for.

        Raises:
            MlflowException: it cannot have been signed.
        """
        try:
            key = checked_key(request.path_params["key"])
        except InvalidArgument as error:
            raise missing("There is no such object.") from error
        if not any(name in request.query_params for name in _SIGNATURES):
            raise MlflowException("Only signed requests are served.", error_code=PERMISSION_DENIED)
        store = await self._files.store()
        query: bytes = request.scope["query_string"]
        return f"{store.service_url}/{key}?{query.decode('latin-1')}"


class StoreAnswer(Response):
    """An answer of the object store as it comes; without a ``body``, so that the edge leaves it alone.

    Args:
        pieces: the head, then pieces of the body.
    """

    def __init__(self, pieces: AsyncGenerator[aiohttp.ClientResponse | bytes, None]) -> None:
        self._pieces = pieces
        self.background = None

    async def prepare(self) -> None:
        """Wait for the head."""
        head = await anext(self._pieces)
        assert not isinstance(head, bytes)  # noqa: S101 - what comes first
        self.status_code = head.status
        self.init_headers(_passed_back(head))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        del receive, scope
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await self._pieces.aclose()


def _passed_on(request: Request) -> dict[str, str]:
    return {name: request.headers[name] for name in _PASSED_ON if name in request.headers}


def _passed_back(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
