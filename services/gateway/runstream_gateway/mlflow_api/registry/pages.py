"""Pages of the registry's answers, asked for in the caller's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_gateway.mlflow_api.actors import actor_metadata
from runstream_gateway.mlflow_api.pages import page_parts

if TYPE_CHECKING:
    from starlette.requests import Request


async def gather_page(
    http: Request, method: Any, message: Any, *, results: str, wanted: int, timeout_seconds: float
) -> tuple[list[Any], str]:
    """As many results of a search as are wanted, and the token of the page behind them; empty on the last one.

    Args:
        http: the client's request; says who makes it.
        method: of a stub, with ``page_size`` and ``page_token`` in its message.
        message: the search, from the client's page token on; is changed.
        results: name of the answer's field with the results.
        wanted: 1 or more.
        timeout_seconds: after which a call is given up.

    Raises:
        MlflowException: the service refused, or could not be reached.
    """
    found: list[Any] = []
    token = ""
    parts = page_parts(
        method,
        message,
        results=results,
        wanted=wanted,
        timeout_seconds=timeout_seconds,
        metadata=actor_metadata(http),
    )
    async for part, behind in parts:
        found += part
        token = behind
    return found, token
