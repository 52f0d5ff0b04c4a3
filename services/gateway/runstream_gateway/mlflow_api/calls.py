"""Calls of services whose refusals reach the client as MLflow's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from runstream_gateway.mlflow_api.errors import translated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from runstream_gateway.mlflow_api.errors import Wording

AnswerT = TypeVar("AnswerT")


async def call(
    method: Callable[..., Awaitable[AnswerT]],
    request: Any,
    timeout_seconds: float,
    words: Mapping[str, Wording] | None = None,
) -> AnswerT:
    """The answer of a service.

    Args:
        method: of a stub.
        request: its message.
        timeout_seconds: after which the call is given up.
        words: see `errors.translated`.

    Raises:
        MlflowException: the service refused, or could not be reached.
    """
    try:
        return await method(request, timeout=timeout_seconds)
    except grpc.RpcError as error:
        raise translated(error, words) from error
