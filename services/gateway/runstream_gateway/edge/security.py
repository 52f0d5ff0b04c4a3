"""Which hosts and origins are served, as MLflow's security layer decides (mlflow.server.security_utils, release 3.17).

Two rules are finer than MLflow's: private addresses are compared as addresses, so that the host name ``10.example.com``
is none, and pages that the server itself served may call it under any name it accepts.
"""

from __future__ import annotations

import ipaddress
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import structlog
from starlette.responses import Response

from runstream_gateway.edge.refusals import plain
from runstream_gateway.edge.routing import STATE_CHANGING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runstream_gateway.settings import HttpSettings

log = structlog.get_logger(__name__)

INVALID_HOST = "Invalid Host header - possible DNS rebinding attack detected"
CROSS_ORIGIN_BLOCKED = "Cross-origin request blocked"

OPEN_PATHS = frozenset({"/health", "/version"})
"""Served to any host: probes address a server by whatever name they have."""
FRAMED_PATH = "/static-files/lib/notebook-trace-renderer/"
"""Shown in a frame inside Jupyter by MLflow's client."""

_LOCAL_NAMES = frozenset({"localhost"})
_LOCAL_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "0.0.0.0/32", "::1/128"),
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    )
)
_ORIGIN_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PREFLIGHT = (
    ("access-control-allow-methods", "GET, POST, PUT, DELETE, OPTIONS, PATCH"),
    ("access-control-max-age", "600"),
)

Header: TypeAlias = tuple[bytes, bytes]


class Security:
    """Decides on hosts and origins, and tells the headers of answers.

    Args:
        settings: hosts, origins and X-Frame-Options.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._prefix = settings.http_prefix
        self._any_origin = "*" in settings.http_allowed_origins
        self._host_allowed = lru_cache(maxsize=1024)(_host_rule(settings.http_allowed_hosts))
        self._origin_allowed = lru_cache(maxsize=1024)(_origin_rule(settings.http_allowed_origins))
        nosniff = (b"x-content-type-options", b"nosniff")
        frame = settings.http_frame_options
        self._framable: Sequence[Header] = (nosniff,)
        self._usual: Sequence[Header] = (
            (nosniff,) if frame == "NONE" else (nosniff, (b"x-frame-options", frame.encode()))
        )

    def refusal(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Response | None:
        """The 403 for a foreign host or origin, or the answer to a preflight; None lets the request through.

        Args:
            method: HTTP method.
            path: decoded, without the prefix.
            headers: the request's, names in lower case.
        """
        host = headers.get(b"host", b"").decode("latin-1")
        if path not in OPEN_PATHS and not self._host_allowed(host):
            log.warning("host_refused", host=host[:255])
            return plain(403, INVALID_HOST)
        if b"origin" not in headers:
            return None
        origin = headers[b"origin"].decode("latin-1")
        if method == "OPTIONS" and b"access-control-request-method" in headers:
            return self._preflight(origin, headers)
        if method in STATE_CHANGING and not self._may_change(origin, host):
            log.warning("origin_refused", origin=origin[:255])
            return plain(403, CROSS_ORIGIN_BLOCKED)
        return None

    def headers(self, path: str, headers: Mapping[bytes, bytes]) -> Sequence[Header]:
        """What every answer carries besides its own headers."""
        fixed = self._framable if path.startswith(FRAMED_PATH) else self._usual
        if b"origin" not in headers:
            return fixed
        return [*fixed, *self._cors(headers[b"origin"].decode("latin-1"))]

    def _may_change(self, origin: str, host: str) -> bool:
        return self._any_origin or self._origin_allowed(origin) or _is_same_origin(origin, host)

    def _cors(self, origin: str) -> list[Header]:
        if self._any_origin:
            # Without credentials: a wildcard with them is against the CORS specification.
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"*")]
        if not self._origin_allowed(origin):
            return [(b"vary", b"Origin")]
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"Origin"),
        ]

    def _preflight(self, origin: str, headers: Mapping[bytes, bytes]) -> Response:
        if not self._any_origin and not self._origin_allowed(origin):
            return plain(400, "Disallowed CORS origin")
        answer = dict(_PREFLIGHT)
        wanted = headers.get(b"access-control-request-headers")
        if wanted is not None:
            answer["access-control-allow-headers"] = wanted.decode("latin-1")
        return Response(status_code=204, headers=answer)


def _host_rule(allowed: Sequence[str]) -> Callable[[str], bool]:
    def is_allowed(host: str) -> bool:
        if not host:
            return False
        if not allowed:
            return _is_local(host)
        return any(fnmatchcase(host.lower(), item.lower()) for item in allowed)

    return is_allowed


def _origin_rule(allowed: Sequence[str]) -> Callable[[str], bool]:
    def is_allowed(origin: str) -> bool:
        return _is_local_origin(origin) or any(fnmatchcase(origin, item) for item in allowed)

    return is_allowed


def _is_local(host: str) -> bool:
    name = _host_name(host)
    if name is None:
        return False
    if name in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return any(address in network for network in _LOCAL_NETWORKS)


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises when it is no number
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def _is_local_origin(origin: str) -> bool:
    try:
        return urlsplit(origin).hostname in _ORIGIN_LOCAL_NAMES
    except ValueError:
        return False


def _is_same_origin(origin: str, host: str) -> bool:
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
