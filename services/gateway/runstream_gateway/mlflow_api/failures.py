"""Failures of single parts of a call, as services tell them inside an answer, as errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from runstream_common.rpc.status import DOMAIN, from_status_message

if TYPE_CHECKING:
    from runstream_common.errors import PlatformError


class Failure(Protocol):
    """What BatchRejection and CallFailure have in common."""

    code: int
    reason: str
    message: str


def platform_error(failure: Failure) -> PlatformError:
    """The error that a call of its own would have ended with."""
    info = AnyMessage()
    info.Pack(ErrorInfo(reason=failure.reason, domain=DOMAIN))
    return from_status_message(Status(code=failure.code, message=failure.message, details=[info]))
