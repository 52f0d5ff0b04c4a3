"""Between messages of the services and the values of this package, and errors of calls in the platform's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import msgspec
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from runstream_common.errors import InvalidArgument
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.registry.v1 import promotion_service_pb2 as promotion_pb

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from google.protobuf.message import Message

    from runstream_gateway.control.values import Target

T = TypeVar("T")
MessageT = TypeVar("MessageT", bound="Message")


async def answer_of(call: Awaitable[T]) -> T:
    """What a service answers.

    Raises:
        PlatformError: what it refused, or why it was not reached.
    """
    try:
        return await call
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def fields_of(message: Message) -> dict[str, Any]:
    """A message's fields under their own names, those at their default too; 64-bit numbers are text (proto3 JSON)."""
    fields: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def value_of(message: Message, kind: type[T], **instead: Any) -> T:
    """A message as a value with fields of the same names.

    Args:
        message: what a service answered.
        kind: the value's type; fields of the message that it lacks are left out.
        instead: fields that are not simply the message's.
    """
    # Not strict: 64-bit numbers come as text.
    return msgspec.convert({**fields_of(message), **instead}, kind, strict=False)


def message_of(value: Any, message: MessageT, field: str) -> MessageT:
    """A value as a message with fields of the same names.

    Args:
        value: what the caller gave.
        message: filled and returned.
        field: what the error names.

    Raises:
        InvalidArgument: the value does not fit into the message.
    """
    try:
        return ParseDict(msgspec.to_builtins(value), message)
    except ParseError as error:
        raise InvalidArgument.of(field, str(error)) from error


def target_message(target: Target, field: str = "target") -> promotion_pb.Target:
    """A target for the registry.

    Raises:
        InvalidArgument: it names none, or both an alias and a stage.
    """
    given = msgspec.to_builtins(target)
    if len(given) != 1:
        raise InvalidArgument.of(field, "needs exactly one of alias and stage")
    return promotion_pb.Target(**given)


def enum_name(number: int, names: Any, prefix: str) -> str:
    """An enum's value without the prefix that protobuf style wants, such as "PENDING"."""
    name: str = names.Name(number)
    return name.removeprefix(prefix)
