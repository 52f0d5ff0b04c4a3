"""What becomes of whatever a handler raises: an answer that tells nothing internal."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import grpc
import structlog
from mlflow.exceptions import MlflowException
from runstream_common.errors import PlatformError
from starlette.exceptions import HTTPException

from runstream_gateway.edge.refusals import Refusal, page
from runstream_gateway.mlflow_api.errors import error_reply, translated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

log = structlog.get_logger(__name__)

CONSOLE_PATH = "/console"


def reply_to(error: Exception, *, route: str, wants_page: bool) -> Response:
    """The answer for an error.

    Args:
        error: what a handler or the edge raised.
        route: name of the route, for the log.
        wants_page: a person looks at the answer in a browser.
    """
    if isinstance(error, MlflowException):
        # A browser's own requests take JSON; only pages of our own are read by people.
        return page(error.get_http_status_code(), error.message) if wants_page else error_reply(error)
    if isinstance(error, (PlatformError, grpc.RpcError)):
        return reply_to(translated(error), route=route, wants_page=wants_page)
    if isinstance(error, HTTPException):
        error = Refusal(error.status_code, "BAD_REQUEST", error.detail, headers=error.headers)
    if not isinstance(error, Refusal):
        error = _unexpected(error, route)
    return page(error.status, error.message, headers=error.headers) if wants_page else error.reply()


def not_found(path: str, *, wants_page: bool) -> Response:
    """The answer for a path that nothing is at; clients take the code for an older server."""
    if wants_page:
        return page(404, "There is nothing at this address.")
    return Refusal(404, "ENDPOINT_NOT_FOUND", f"No endpoint at {path[:255]}").reply()


def not_allowed(method: str, allowed: list[str], *, wants_page: bool) -> Response:
    """The 405 for a path that has other methods (RFC 9110, 15.5.6)."""
    headers = {"Allow": ", ".join([*allowed, "OPTIONS"])}
    if wants_page:
        return page(405, f"{method} is not allowed here.", headers=headers)
    return Refusal(405, "BAD_REQUEST", f"{method} is not allowed here.", headers=headers).reply()


def wants_page(path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a person reads the answer: below the console, or asked for by a browser's address bar."""
    if path == CONSOLE_PATH or path.startswith(CONSOLE_PATH + "/"):
        return True
    return b"text/html" in headers.get(b"accept", b"")


def _unexpected(error: Exception, route: str) -> Refusal:
    error_id = uuid.uuid4().hex
    log.error("request_failed", route=route, error_id=error_id, exc_info=error)
    return Refusal(
        500, "INTERNAL_ERROR", f"Internal error {error_id}; the server's log says more under this id."
    )
