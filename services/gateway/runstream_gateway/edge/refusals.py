"""Answers of the edge itself: what it refuses before a handler is asked, in JSON or as a small page."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, PlainTextResponse

from runstream_gateway.replies import json_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

_TITLES = {404: "Not found", 405: "Not allowed here", 500: "Something went wrong"}

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}</style>
<h1>{title}</h1>
<p>{text}</p>
</html>
"""


class Refusal(Exception):
    """A request that the edge does not let through.

    Args:
        status: HTTP status.
        error_code: a code that MLflow's clients know.
        message: for people; holds nothing internal.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, error_code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message
        self.headers = headers

    def reply(self) -> Response:
        """The answer."""
        body = {"error_code": self.error_code, "message": self.message}
        return json_reply(body, status=self.status, headers=self.headers)


def page(status: int, text: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """A plain page for people.

    Args:
        status: HTTP status.
        text: what to tell; escaped here.
        headers: further headers.
    """
    title = _TITLES.get(status, "Error")
    body = _PAGE.format(title=title, text=html.escape(text))
    return HTMLResponse(body, status_code=status, headers=dict(headers or {}))


def plain(status: int, text: str) -> Response:
    """A plain text, as MLflow's own security layer answers."""
    return PlainTextResponse(text, status_code=status)


def too_large(limit_bytes: int) -> Refusal:
    """The 413 for a body over its limit."""
    return Refusal(
        413, "RESOURCE_LIMIT_EXCEEDED", f"The body of the request is larger than {limit_bytes} bytes."
    )


def overloaded() -> Refusal:
    """The 503 that sends a client away for a second; MLflow's client then repeats the request."""
    return Refusal(
        503,
        "TEMPORARILY_UNAVAILABLE",
        "The server has too many requests in progress; try again.",
        headers={"Retry-After": "1"},
    )
