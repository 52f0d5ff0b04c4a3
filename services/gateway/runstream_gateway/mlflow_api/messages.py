"""Requests to MLflow's protobuf messages and back, with MLflow's leniency (mlflow.server.handlers, release 3.17)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from google.protobuf.json_format import ParseError
from mlflow.utils.proto_json_utils import message_to_json, parse_dict

from runstream_gateway.mlflow_api.checks import check_parameters
from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.replies import json_reply

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

_BODY_METHODS = frozenset({"POST", "PUT"})


async def read_message(request: Request, message: MessageT, schema: Schema) -> MessageT:
    """Fill an MLflow message from the query (GET) or the JSON body.

    Args:
        request: the HTTP request.
        message: an empty message of the endpoint's type; it is filled and returned.
        schema: what is required and of what type.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE naming the parameter.
    """
    given = (
        query_values(request.query_params, message.DESCRIPTOR)
        if request.method in ("GET", "HEAD") and request.query_params
        else await read_object(request)
    )
    _refuse_both_spellings(given, message.DESCRIPTOR)
    problem: Exception | None = None
    try:
        parse_dict(given, message)
    except (ParseError, RecursionError) as error:
        problem = error
    check_parameters(given, schema, parsed=problem is None)
    if problem is not None:
        # MLflow goes on with what was read until then, and so stores something else than it was given.
        raise invalid(f"The request cannot be read: {problem}")
    return message


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body; an empty or broken body is an empty object, as in MLflow.

    Raises:
        MlflowException: another content type, or JSON that is no object (MLflow answers 500 to that).
    """
    if request.method in _BODY_METHODS:
        media_type = request.headers.get("content-type", "").split(";")[0].strip()
        if media_type != "application/json":
            raise invalid(
                "Bad Request. Content-Type header is missing."
                if not media_type
                else "Bad Request. Content-Type must be one of ['application/json']."
            )
    return parse_object(await request.body())


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
    return json_reply(message_to_json(message).encode())


def _query_value(text: str, field: FieldDescriptor) -> Any:
    if field.type != field.TYPE_BOOL:
        return text
    if text.lower() not in ("true", "false"):
        raise invalid(f"Invalid boolean value: {text}, must be 'true' or 'false'.")
    return text.lower() == "true"


def _refuse_both_spellings(given: dict[str, Any], descriptor: AnyDescriptor) -> None:
    for field in descriptor.fields:
        if field.json_name != field.name and field.json_name in given and field.name in given:
            raise invalid(
                f"Conflicting values for parameter '{field.name}': it was given as '{field.name}' and as "
                f"'{field.json_name}'."
            )
