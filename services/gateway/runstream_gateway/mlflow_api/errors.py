"""Errors in MLflow's shape, and what services' errors become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    NOT_IMPLEMENTED,
    PERMISSION_DENIED,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    RESOURCE_EXHAUSTED,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)
from runstream_common import errors
from runstream_common.rpc.status import from_rpc_error

from runstream_gateway.replies import json_reply

if TYPE_CHECKING:
    import grpc
    from starlette.responses import Response

# The most derived class of the error decides; see services' errors for the reasons that are told apart.
_CODES: dict[type[errors.PlatformError], int] = {
    errors.InvalidArgument: INVALID_PARAMETER_VALUE,
    errors.OutOfRange: INVALID_PARAMETER_VALUE,
    errors.NotFound: RESOURCE_DOES_NOT_EXIST,
    errors.AlreadyExists: RESOURCE_ALREADY_EXISTS,
    # MLflow answers INVALID_PARAMETER_VALUE to writes to what is deleted.
    errors.FailedPrecondition: INVALID_PARAMETER_VALUE,
    # Repeated by the client, as 503 is, and 409 would not be.
    errors.Aborted: TEMPORARILY_UNAVAILABLE,
    errors.PermissionDenied: PERMISSION_DENIED,
    errors.Unauthenticated: UNAUTHENTICATED,
    errors.ResourceExhausted: RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: DEADLINE_EXCEEDED,
    errors.Unavailable: TEMPORARILY_UNAVAILABLE,
    errors.Unimplemented: NOT_IMPLEMENTED,
}


def invalid(message: str) -> MlflowException:
    """The 400 for a parameter with a wrong value."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


def bad_request(message: str) -> MlflowException:
    """The 400 that MLflow gives with BAD_REQUEST: mostly what its database refuses."""
    return MlflowException(message, error_code=BAD_REQUEST)


def missing(message: str) -> MlflowException:
    """The JSON 404 for a resource that does not exist."""
    return MlflowException(message, error_code=RESOURCE_DOES_NOT_EXIST)


def translated(error: grpc.RpcError | errors.PlatformError) -> MlflowException:
    """What a service's refusal is to an MLflow client, with the service's text.

    Areas whose texts clients rely on match on ``PlatformError.reason`` before they come here.
    """
    refusal = error if isinstance(error, errors.PlatformError) else from_rpc_error(error)
    for kind in type(refusal).__mro__:
        if kind in _CODES:
            return MlflowException(refusal.message, error_code=_CODES[kind])
    return MlflowException(refusal.message, error_code=INTERNAL_ERROR)


def error_reply(error: MlflowException) -> Response:
    """The answer for an error: MLflow's JSON and status."""
    body: dict[str, object] = {"error_code": error.error_code, "message": error.message, **error.json_kwargs}
    for name in ("sqlstate", "error_class"):
        value = getattr(error, name, None)
        if value is not None:
            body[name] = value
    headers = {"Retry-After": "1"} if error.get_http_status_code() in (429, 503) else None
    return json_reply(body, status=error.get_http_status_code(), headers=headers)

