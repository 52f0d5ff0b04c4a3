"""Pages of MLflow's sizes out of answers of the registry, which are smaller and have a limit of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
from runstream_common.rpc.status import from_rpc_error

from runstream_gateway.mlflow_api.actors import actor_metadata
from runstream_gateway.mlflow_api.errors import translated

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_PART: Final = 1_000
"""Most results of one call; the registry reads them with a statement each."""

_SMALLER: Final = 8
_PAGE_TOO_LARGE: Final = "PAGE_TOO_LARGE"


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
    part = MAX_PART
    while True:
        message.page_size = min(part, wanted - len(found))
        try:
            answer = await method(message, timeout=timeout_seconds, metadata=actor_metadata(http))
        except grpc.RpcError as error:
            refusal = from_rpc_error(error)
            if refusal.reason != _PAGE_TOO_LARGE or message.page_size == 1:
                raise translated(refusal) from error
            # Prompts have long texts: fewer of them fit.
            part = max(message.page_size // _SMALLER, 1)
            continue
        found += getattr(answer, results)
        message.page_token = answer.next_page_token
        if not message.page_token or len(found) >= wanted:
            return found, message.page_token
