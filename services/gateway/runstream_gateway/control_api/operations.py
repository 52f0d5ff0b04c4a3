"""Operations of our own API: what they take and give, from which routes and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from runstream_common.errors import InvalidArgument, PlatformError
from starlette.responses import Response

from runstream_gateway.actors import ACTOR_HEADER, named_actor
from runstream_gateway.control.values import Nothing
from runstream_gateway.control_api.problems import invalid, problem_reply, unsupported_media_type
from runstream_gateway.replies import JSON, json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from runstream_gateway.routes import Handler

PREFIX: Final = "/api/runstream/v1"
MAX_BODY_BYTES: Final = 1024 * 1024

AtT = TypeVar("AtT")
QueryT = TypeVar("QueryT")
BodyT = TypeVar("BodyT")


@dataclass(frozen=True, slots=True)
class Call(Generic[AtT, QueryT, BodyT]):
    """A request, read and checked.

    Args:
        at: parameters of the path.
        query: parameters of the query.
        body: the JSON body.
        actor: who asks; never empty in an operation that changes something.
    """

    at: AtT
    query: QueryT
    body: BodyT
    actor: str


Run: TypeAlias = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation.

    Args:
        method: HTTP method; everything but GET changes something and needs an actor.
        path: below the prefix, parameters as ``{name}``.
        run: takes a ``Call`` with values of the types below and returns the answer.
        summary: what it does, one line.
        tag: which part of the API it belongs to.
        name: ``operationId`` of the OpenAPI document.
        at: parameters of the path.
        query: parameters of the query.
        body: the JSON body; ``Nothing`` means that there is none.
        answer: type of the answer; None means 204 without a body.
        status: HTTP status of success.
        stream: whether the answer is a stream of server-sent events, given by ``run`` as a response.
    """

    method: str
    path: str
    run: Run
    summary: str
    tag: str
    name: str
    description: str = ""
    at: type = Nothing
    query: type = Nothing
    body: type = Nothing
    answer: type | None = None
    status: int = 200
    stream: bool = False

    @property
    def changes(self) -> bool:
        """Whether it changes something, or tells of what would be changed by whom."""
        return self.method != "GET"

    def route(self) -> Route:
        """Its route."""
        return Route(self.method, PREFIX + self.path, self._handler(), max_body_bytes=MAX_BODY_BYTES)

    def _handler(self) -> Handler:
        async def handle(request: Request) -> Response:
            if self.body is not Nothing and not _is_json(request):
                return unsupported_media_type()
            try:
                answer = await self.run(await self._read(request))
            except PlatformError as error:
                return problem_reply(error)
            if self.stream and request.method == "HEAD":
                return Response(media_type=answer.media_type)  # the stream itself would never end
            return self._reply(answer)

        return handle

    async def _read(self, request: Request) -> Call[Any, Any, Any]:
        at = _convert(request.path_params, self.at)
        query = _convert(_query_fields(request, self.query), self.query)
        body = Nothing() if self.body is Nothing else _decode(await request.body(), self.body)
        actor = named_actor(request)
        if self.changes and not actor:
            raise InvalidArgument.of(
                ACTOR_HEADER,
                "name who asks, here or by HTTP Basic: the audit trail needs to know",
                reason="ACTOR_REQUIRED",
            )
        return Call(at, query, body, actor)

    def _reply(self, answer: Any) -> Response:
        if isinstance(answer, Response):
            return answer
        if self.answer is None:
            return Response(status_code=204)
        return json_reply(answer, status=self.status, headers={"Cache-Control": "no-store"})


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == JSON


def _query_fields(request: Request, kind: type) -> dict[str, Any]:
    """The parameters by name: lists for fields that are lists.

    Raises:
        InvalidArgument: another one is given twice.
    """
    lists = {item.name for item in msgspec.structs.fields(kind) if _is_list(item.type)}
    fields: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in lists:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise InvalidArgument.of(name, "is given twice")
        else:
            fields[name] = value
    return fields


def _is_list(kind: Any) -> bool:
    info = msgspec.inspect.type_info(kind)
    while isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    return isinstance(info, msgspec.inspect.ListType)


def _convert(fields: Any, kind: type) -> Any:
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error) from error


def _decode(body: bytes, kind: type) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(error) from error
