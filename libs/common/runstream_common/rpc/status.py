"""Errors as rich gRPC statuses and back: ``ErrorInfo``, ``BadRequest`` and ``RetryInfo`` details.

Imports nothing but the standard library, grpc, protobuf and Google's status messages: the SDK uses it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status as StatusMessage
from grpc_status import rpc_status

from runstream_common.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PlatformError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

DOMAIN = "runstream"
DETAILS_KEY = "grpc-status-details-bin"

# A status travels in HTTP/2 trailers, which peers refuse beyond 8 KiB. The text is sent twice, once
# percent-encoded; the details grow by a third in base64.
MAX_MESSAGE_BYTES = 1500
MAX_VIOLATIONS_BYTES = 2000
MAX_METADATA_BYTES = 600
MAX_FIELD_CHARS = 250

CODES: dict[type[PlatformError], grpc.StatusCode] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    Aborted: grpc.StatusCode.ABORTED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    Internal: grpc.StatusCode.INTERNAL,
}
CLASSES: dict[grpc.StatusCode, type[PlatformError]] = {
    **{code: error_class for error_class, code in CODES.items()},
    # A server that is being stopped cancels what runs: another one will take the call.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DATA_LOSS: Internal,
    grpc.StatusCode.UNKNOWN: Internal,
}
_NUMBERS: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def status_code(error: PlatformError) -> grpc.StatusCode:
    """The gRPC code of an error, by its nearest known class."""
    for error_class in type(error).__mro__:
        if error_class in CODES:
            return CODES[error_class]
    return grpc.StatusCode.INTERNAL


def to_status(error: PlatformError) -> grpc.Status:
    """The status to end a call with: code, message and details, kept small enough for trailers.

    Violations beyond what fits are counted in the metadata as ``violations_omitted``.
    """
    return rpc_status.to_status(to_status_message(error))


def to_status_message(error: PlatformError) -> StatusMessage:
    """The same as ``google.rpc.Status``, for answers that carry a status inside a stream's message."""
    violations, omitted = _violations_that_fit(error)
    metadata = _metadata_that_fits(error.metadata)
    if omitted:
        metadata["violations_omitted"] = str(omitted)
    details: list[Message] = [ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if violations:
        details.append(BadRequest(field_violations=violations))
    retry_after_seconds = getattr(error, "retry_after_seconds", None)
    if retry_after_seconds is not None:
        details.append(_retry_info(retry_after_seconds))
    return StatusMessage(
        code=status_code(error).value[0],
        message=_clipped(error.message, MAX_MESSAGE_BYTES),
        details=[_packed(detail) for detail in details],
    )


def from_rpc_error(error: grpc.RpcError) -> PlatformError:
    """The error that a server raised, rebuilt from what the call ended with.

    Statuses that are not ours (a proxy's, or grpc's own) become the class of their code, with the
    code's name as reason.
    """
    code = (error.code() if hasattr(error, "code") else None) or grpc.StatusCode.UNKNOWN
    message = (error.details() if hasattr(error, "details") else None) or code.name
    status = _details_of(error)
    if status is None or status.code != code.value[0]:
        return _build(code, message, ())
    return _build(code, status.message or message, status.details)


def from_status_message(status: StatusMessage) -> PlatformError:
    """The error in a ``google.rpc.Status`` that came inside a message.

    Raises:
        ValueError: the status says OK.
    """
    code = _NUMBERS.get(status.code, grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.OK:
        raise ValueError("the status is OK")
    return _build(code, status.message, status.details)


def _violations_that_fit(error: PlatformError) -> tuple[list[BadRequest.FieldViolation], int]:
    if not isinstance(error, InvalidArgument):
        return [], 0
    kept: list[BadRequest.FieldViolation] = []
    left = MAX_VIOLATIONS_BYTES
    for item in error.violations:
        violation = BadRequest.FieldViolation(
            field=item.field[:MAX_FIELD_CHARS], description=_clipped(item.description, MAX_MESSAGE_BYTES)
        )
        left -= violation.ByteSize()
        if left < 0:
            break
        kept.append(violation)
    return kept, len(error.violations) - len(kept)


def _metadata_that_fits(metadata: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    left = MAX_METADATA_BYTES
    for key, value in metadata.items():
        left -= len(key.encode()) + len(value.encode())
        if left < 0:
            break
        kept[key] = value
    return kept


def _clipped(text: str, limit_bytes: int) -> str:
    """The longest start of the text that takes no more than the limit when it is percent-encoded."""
    if len(text) * 12 <= limit_bytes:
        return text
    sizes = accumulate(1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode()) for char in text)
    return text[: bisect_right(list(sizes), limit_bytes)]


def _retry_info(seconds: float) -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(max(math.ceil(seconds * 1000), 0))
    return info


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _details_of(error: grpc.RpcError) -> StatusMessage | None:
    trailers: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in trailers or ():
        if key == DETAILS_KEY:
            try:
                return StatusMessage.FromString(value)
            except DecodeError:
                return None
    return None


def _build(code: grpc.StatusCode, message: str, details: Iterable[AnyMessage]) -> PlatformError:
    info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    has_retry = False
    for detail in details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(BadRequest.DESCRIPTOR):
            detail.Unpack(bad_request)
        elif detail.Is(RetryInfo.DESCRIPTOR):
            has_retry = detail.Unpack(retry)
    error_class = CLASSES.get(code, Internal)
    reason = info.reason or code.name
    metadata = dict(info.metadata)
    if issubclass(error_class, InvalidArgument):
        violations = [FieldViolation(item.field, item.description) for item in bad_request.field_violations]
        return error_class(violations, message=message, reason=reason, metadata=metadata)
    if issubclass(error_class, (ResourceExhausted, Unavailable)):
        seconds = retry.retry_delay.ToMilliseconds() / 1000 if has_retry else None
        return error_class(message, retry_after_seconds=seconds, reason=reason, metadata=metadata)
    return error_class(message, reason=reason, metadata=metadata)
