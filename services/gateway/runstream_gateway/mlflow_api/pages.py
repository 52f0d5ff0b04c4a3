"""Pages of MLflow's sizes out of answers of services, which are smaller and have a limit of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
from runstream_common.rpc.status import from_rpc_error

from runstream_gateway.mlflow_api.errors import translated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MAX_PART: Final = 1_000
"""Most results of one call: as many as clients usually ask for, and so few that nobody else waits long."""

_SMALLER: Final = 8
_PAGE_TOO_LARGE: Final = "PAGE_TOO_LARGE"


async def page_parts(
    method: Any,
    message: Any,
    *,
    results: str,
    wanted: int,
    timeout_seconds: float,
    metadata: Sequence[tuple[str, str]] | None = None,
) -> AsyncIterator[tuple[list[Any], str]]:
    """A page of a search in parts, each with the token of what is behind it; empty behind the last result.

    Args:
        method: of a stub, with ``page_size`` and ``page_token`` in its message.
        message: the search, from the client's page token on; is changed.
        results: name of the answer's field with the results.
        wanted: results of the page, 1 or more.
        timeout_seconds: after which a call is given up.
        metadata: of each call.

    Raises:
        MlflowException: the service refused, or could not be reached.
    """
    left, part = wanted, MAX_PART
    while left:
        message.page_size = min(part, left)
        try:
            answer = await method(message, timeout=timeout_seconds, metadata=metadata)
        except grpc.RpcError as error:
            refusal = from_rpc_error(error)
            if refusal.reason != _PAGE_TOO_LARGE or message.page_size == 1:
                raise translated(refusal) from error
            # What is wide, fewer of it fit.
            part = max(message.page_size // _SMALLER, 1)
            continue
        found = list(getattr(answer, results))
        yield found, answer.next_page_token
        if not answer.next_page_token:
            return
        message.page_token = answer.next_page_token
        left -= len(found)
