"""The ASGI application: finds the route and answers, errors in the shape of its door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from starlette.requests import Request
from starlette.routing import compile_path

from runstream_gateway.mlflow_api.errors import error_reply
from runstream_gateway.replies import json_reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from runstream_gateway.routes import Handler, Route


class Application:
    """Finds the route of a request in a table: exact paths by one look-up, the few with parameters in turn."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, dict[str, Handler]] = {}
        self._patterns = []
        for route in routes:
            if "{" in route.path:
                pattern, _, convertors = compile_path(route.path)
                self._patterns.append((route.method, pattern, convertors, route.handler))
            else:
                self._exact.setdefault(route.path, {})[route.method] = route.handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        request = Request(scope, receive)
        response = await self._answer(request, scope)
        await response(scope, receive, send)

    async def _answer(self, request: Request, scope: Scope) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        handlers = self._exact.get(scope["path"])
        handler = handlers.get(method) if handlers else None
        known = handlers is not None
        if handler is None:
            for route_method, pattern, convertors, candidate in self._patterns:
                match = pattern.match(scope["path"])
                if match:
                    known = True
                    if route_method == method:
                        scope["path_params"] = {
                            k: convertors[k].convert(v) for k, v in match.groupdict().items()
                        }
                        handler = candidate
                        break
        if handler is None:
            return json_reply({"error_code": "ENDPOINT_NOT_FOUND"}, status=405 if known else 404)
        try:
            return await handler(request)
        except MlflowException as error:
            return error_reply(error)
