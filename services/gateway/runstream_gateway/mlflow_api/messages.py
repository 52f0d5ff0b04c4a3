"""Requests to MLflow's protobuf messages and back, with MLflow's leniency (mlflow.server.handlers, release 3.17)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec
from google.protobuf.json_format import ParseError
from mlflow.utils.proto_json_utils import message_to_json, parse_dict

from runstream_gateway.mlflow_api.checks import check_parameters
from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.replies import JSON, json_reply

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.mlflow_api.checks import Schema

AnyDescriptor: TypeAlias = Any
"""A message's descriptor; protobuf has one class for each of its implementations."""

MessageT = TypeVar("MessageT", bound="Message")
BodyT = TypeVar("BodyT")

_BODY_METHODS = frozenset({"POST", "PUT"})

_UNPARSABLE = (ParseError, RecursionError, ValueError, TypeError, AttributeError, OverflowError)
"""What protobuf raises for JSON that is not the message: mostly ParseError, the rest for odd nesting and numbers."""


async def read_message(request: Request, message: MessageT, schema: Schema) -> MessageT:
    """Fill an MLflow message from the query (GET) or the JSON body.

    A value of a wrong type is refused wherever it is. MLflow does so where its own schema says the type, and else keeps
    what it had read until then and drops the rest in silence; no client relies on that.

    Args:
        request: the HTTP request.
        message: an empty message of the endpoint's type; it is filled and returned.
        schema: what is required and of what type.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE naming the parameter.
    """
    given = await read_parameters(request, message.DESCRIPTOR)
    _refuse_both_spellings(given, message.DESCRIPTOR)
    failure: Exception | None = None
    try:
        parse_dict(given, message)
    except _UNPARSABLE as error:
        failure = error
    check_parameters(given, schema, parsed=failure is None)
    if failure is not None:
        raise invalid(f"Invalid value in the request: {failure}") from failure
    return message


async def read_parameters(request: Request, descriptor: AnyDescriptor) -> dict[str, Any]:
    """What a request says, as JSON values by name: the query of a GET that has one, else the JSON body.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE, see `read_object`.
    """
    if request.method in ("GET", "HEAD") and request.query_params:
        return query_values(request.query_params, descriptor)
    return await read_object(request)


async def read_fast(request: Request, decoder: msgspec.json.Decoder[BodyT]) -> BodyT | None:
    """The body of a hot endpoint, decoded without protobuf; None when `read_message` must decide.

    Args:
        request: the HTTP request.
        decoder: of a Struct that forbids unknown fields, so that other spellings take the slow path.
    """
    if request.headers.get("content-type", "").partition(";")[0] != JSON:
        return None
    try:
        return decoder.decode(await request.body())
    except (msgspec.MsgspecError, ValueError):
        return None


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body; an empty or broken body is an empty object, as in MLflow.

    Raises:
        MlflowException: another content type, or JSON that is no object (MLflow answers 500 to that).
    """
    if request.method in _BODY_METHODS:
        check_content_type(request)
    return parse_object(await request.body())


def check_content_type(request: Request) -> None:
    """Refuse a body that is not called JSON; parameters such as a charset are fine.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE.
    """
    content_type = request.headers.get("content-type")
    if content_type is None:
        raise invalid("Bad Request. Content-Type header is missing.")
    if content_type.partition(";")[0] != JSON:
        raise invalid(f"Bad Request. Content-Type must be one of ['{JSON}'].")


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        MlflowException: JSON that is no object.
    """
    try:
        value = json.loads(body) if body else None
        if isinstance(value, str):
            # Old clients encode their JSON twice.
            value = json.loads(value)
    except (ValueError, RecursionError):
        value = None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid("The body of the request must be a JSON object.")
    return value


def query_values(query: QueryParams, descriptor: AnyDescriptor) -> dict[str, Any]:
    """Query parameters as JSON values of a message's fields; unknown ones are left out."""
    values: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.name not in query:
            continue
        if field.is_repeated:
            values[field.name] = query.getlist(field.name)
        else:
            values[field.name] = _query_value(query.getlist(field.name)[0], field)
    return values


def message_reply(message: Message) -> Response:
    """The answer for a message: proto-JSON with snake_case names and int64 as numbers."""
    return json_reply(message_to_json(message, pretty=False).encode())


def empty_reply() -> Response:
    """The answer of an endpoint that has nothing to say."""
    return json_reply(b"{}")


def _query_value(text: str, field: FieldDescriptor) -> Any:
    if field.type != field.TYPE_BOOL:
        return text
    if text.lower() not in ("true", "false"):
        raise invalid(f"Invalid boolean value: {text}, must be 'true' or 'false'.")
    return text.lower() == "true"


def _refuse_both_spellings(given: Any, descriptor: AnyDescriptor) -> None:
    if not isinstance(given, dict):
        return
    for field in descriptor.fields:
        if field.json_name != field.name and field.json_name in given and field.name in given:
            raise invalid(
                f"Request specifies both '{field.name}' and '{field.json_name}'; provide only one of them."
            )
        if field.type != field.TYPE_MESSAGE or _has_keys_of_the_caller(field.message_type):
            continue
        value = given.get(field.name, given.get(field.json_name))
        for item in value if isinstance(value, list) else (value,):
            _refuse_both_spellings(item, field.message_type)


def _has_keys_of_the_caller(descriptor: AnyDescriptor) -> bool:
    return bool(descriptor.GetOptions().map_entry) or descriptor.full_name.startswith("google.protobuf.")
