"""Calls of the registry: with the name of who makes the request, and refusals in MLflow's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from runstream_proto.registry.v1 import types_pb2 as types

from runstream_gateway.mlflow_api.actors import actor_metadata
from runstream_gateway.mlflow_api.errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from runstream_gateway.mlflow_api.registry.checks import TagMessage
    from runstream_gateway.mlflow_api.registry.refusals import Words


class RegistryCaller:
    """Calls the registry.

    Args:
        timeout_seconds: after which a call is given up.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds

    async def __call__(self, http: Request, method: Any, request: Any, words: Words | None = None) -> Any:
        """The answer of a service.

        Args:
            http: the client's request; says who makes it.
            method: of a stub.
            request: its message.
            words: see ``errors.translated``.

        Raises:
            MlflowException: the service refused, or could not be reached.
        """
        try:
            return await method(request, timeout=self._timeout_seconds, metadata=actor_metadata(http))
        except grpc.RpcError as error:
            raise translated(error, words) from error


def tag_messages(tags: Iterable[TagMessage]) -> list[types.Tag]:
    """Tags as the registry takes them."""
    return [types.Tag(key=tag.key, value=tag.value) for tag in tags]
