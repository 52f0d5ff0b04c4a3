"""Finds the route of a request: exact paths by one look-up, patterns by their longest literal beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import compile_path

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

    from starlette.convertors import Convertor

    from runstream_gateway.routes import Handler, Route

STATE_CHANGING = frozenset({"POST", "PUT", "DELETE", "PATCH"})
_READING_ENDS = ("/search", "/graphql")


class BoundRoute:
    """A route as the edge works with it.

    Args:
        route: what a door offers.
        default_max_body_bytes: the edge's setting.
    """

    __slots__ = ("changes_state", "handler", "max_body_bytes", "method", "name", "streams_body")

    def __init__(self, route: Route, default_max_body_bytes: int) -> None:
        self.method = route.method
        self.name = route.name or route.path
        self.handler: Handler = route.handler
        self.streams_body = route.max_body_bytes == 0
        self.max_body_bytes = route.max_body_bytes or default_max_body_bytes
        # A write whose client left is finished all the same: half of it would be worse than all of it.
        self.changes_state = route.method in STATE_CHANGING and not route.path.endswith(_READING_ENDS)


class _Pattern:
    __slots__ = ("_convertors", "_regex", "by_method", "path")

    def __init__(self, path: str) -> None:
        self._regex: re.Pattern[str]
        self._convertors: dict[str, Convertor[Any]]
        self._regex, _, self._convertors = compile_path(path)
        self.path = path
        self.by_method: dict[str, BoundRoute] = {}

    def match(self, path: str) -> dict[str, Any] | None:
        found = self._regex.match(path)
        if found is None:
            return None
        return {name: self._convertors[name].convert(value) for name, value in found.groupdict().items()}


class RouteTable:
    """Every route of the gateway.

    Args:
        routes: what the doors offer; a method and path given twice is an error.
        default_max_body_bytes: for routes that name no limit.

    Raises:
        ValueError: two routes have the same method and path.
    """

    def __init__(self, routes: Iterable[Route], *, default_max_body_bytes: int) -> None:
        self._exact: dict[str, dict[str, BoundRoute]] = {}
        self._patterns: dict[str, list[_Pattern]] = {}
        self.routes: list[BoundRoute] = []
        for route in routes:
            bound = BoundRoute(route, default_max_body_bytes)
            methods = self._methods_of(route.path)
            if route.method in methods:
                raise ValueError(f"two routes for {route.method} {route.path}")
            methods[route.method] = bound
            self.routes.append(bound)

    def find(self, method: str, path: str) -> tuple[BoundRoute, Mapping[str, Any]] | None:
        """The route and the values of its parameters; None when there is none.

        Args:
            method: HTTP method; HEAD is answered by GET's route.
            path: decoded path, without the prefix.
        """
        if method == "HEAD":
            method = "GET"
        methods = self._exact.get(path)
        if methods is not None and (bound := methods.get(method)) is not None:
            return bound, {}
        for pattern, values in self._matching(path):
            if (bound := pattern.by_method.get(method)) is not None:
                return bound, values
        return None

    def allowed(self, path: str) -> list[str]:
        """Methods that the path has, sorted; none when nothing is there."""
        methods = set(self._exact.get(path, ()))
        for pattern, _ in self._matching(path):
            methods.update(pattern.by_method)
        if "GET" in methods:
            methods.add("HEAD")
        return sorted(methods)

    def _methods_of(self, path: str) -> dict[str, BoundRoute]:
        if "{" not in path:
            return self._exact.setdefault(path, {})
        literal = path[: path.index("{")]
        bucket = self._patterns.setdefault(literal[: literal.rindex("/") + 1], [])
        for pattern in bucket:
            if pattern.path == path:
                return pattern.by_method
        bucket.append(_Pattern(path))
        return bucket[-1].by_method

    def _matching(self, path: str) -> Iterable[tuple[_Pattern, dict[str, Any]]]:
        end = path.rfind("/")
        while end >= 0:
            for pattern in self._patterns.get(path[: end + 1], ()):
                values = pattern.match(path)
                if values is not None:
                    yield pattern, values
            end = path.rfind("/", 0, end)
