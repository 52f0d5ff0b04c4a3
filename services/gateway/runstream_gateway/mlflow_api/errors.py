"""Errors in MLflow's shape, and what services' errors become."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

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
    from collections.abc import Callable, Mapping

    import grpc
    from starlette.responses import Response

    Wording: TypeAlias = Callable[[errors.PlatformError], MlflowException]
    """Makes MLflow's error of a service's refusal."""

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


def run_missing(run_id: str) -> MlflowException:
    """The 404 for a run that does not exist."""
    return missing(f"Run with id={run_id} not found")


def experiment_missing(experiment_id: str | int) -> MlflowException:
    """The 404 for an experiment that does not exist."""
    return missing(f"No Experiment with id={experiment_id} exists")


def logged_model_missing(model_id: str) -> MlflowException:
    """The 404 for a logged model that does not exist."""
    return missing(f"Logged model with ID '{model_id}' not found.")


def not_active(kind: str, identity: str) -> MlflowException:
    """The 400 for a write to what is deleted.

    Args:
        kind: "run" or "experiment".
        identity: its id.
    """
    return invalid(f"The {kind} {identity} must be in the 'active' state. Current state is deleted.")


def _run_missing(refusal: errors.PlatformError) -> MlflowException:
    return run_missing(refusal.metadata.get("run_id", ""))


def _run_deleted(refusal: errors.PlatformError) -> MlflowException:
    return not_active("run", refusal.metadata.get("run_id", ""))


def _experiment_missing(refusal: errors.PlatformError) -> MlflowException:
    identity = refusal.metadata.get("experiment_id")
    return experiment_missing(identity) if identity else missing(refusal.message)


def _experiment_deleted(refusal: errors.PlatformError) -> MlflowException:
    return not_active("experiment", refusal.metadata.get("experiment_id", ""))


def _logged_model_missing(refusal: errors.PlatformError) -> MlflowException:
    return logged_model_missing(refusal.metadata.get("model_id", ""))


_IN_MLFLOWS_WORDS: dict[str, Wording] = {
    "RUN_NOT_FOUND": _run_missing,
    "RUN_DELETED": _run_deleted,
    "EXPERIMENT_NOT_FOUND": _experiment_missing,
    "EXPERIMENT_DELETED": _experiment_deleted,
    "LOGGED_MODEL_NOT_FOUND": _logged_model_missing,
}


def translated(
    error: grpc.RpcError | errors.PlatformError, words: Mapping[str, Wording] | None = None
) -> MlflowException:
    """What a service's refusal is to an MLflow client.

    Args:
        error: how a call of a service ended.
        words: what to say for reasons (``PlatformError.reason``) that mean something else to this endpoint. Else runs,
            experiments and logged models are missing or deleted in MLflow's words, and the rest has the service's text.
    """
    refusal = error if isinstance(error, errors.PlatformError) else from_rpc_error(error)
    wording = (words or {}).get(refusal.reason) or _IN_MLFLOWS_WORDS.get(refusal.reason)
    if wording is not None:
        return wording(refusal)
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
