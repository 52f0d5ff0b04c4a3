"""What a door offers: HTTP routes with their handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path with the handler that answers it.

    Args:
        method: HTTP method; GET also answers HEAD.
        path: absolute, Starlette's notation for parameters: ``/items/{name}`` and ``/files/{path:path}``. Values are in
            ``request.path_params``, decoded once.
        handler: answers, or raises what the edge translates to the door's error shape.
        name: label of metrics and the access log; the path pattern if not given.
        max_body_bytes: largest request body; None means the edge's setting, 0 that the handler streams the body and
            bounds it itself.
    """

    method: str
    path: str
    handler: Handler
    name: str = ""
    max_body_bytes: int | None = None
