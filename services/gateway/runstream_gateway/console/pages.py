"""How pages are made: templates, what each of them shows, headers, refusals as pages."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

import jinja2
from markupsafe import Markup, escape
from runstream_common.errors import PlatformError
from starlette.responses import HTMLResponse, RedirectResponse, Response

from runstream_gateway import __version__
from runstream_gateway.console.static_files import asset_version
from runstream_gateway.console.visitors import THEMES, remember_token, visitor_of
from runstream_gateway.control.refusals import status_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from runstream_gateway.routes import Handler

CONSOLE: Final = "/console"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
}

Show: TypeAlias = Callable[["Request"], Awaitable[Response]]


class Pages:
    """Renders templates.

    Args:
        prefix: path under which the gateway is served.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(when=_when, iso=_iso, size=_size, number=_number, marked=_marked)
        self._templates.globals.update(at=self.at, asset=self._asset, release=__version__, themes=THEMES)

    @property
    def cookie_path(self) -> str:
        """Path that the console's cookies belong to."""
        return self._prefix + CONSOLE

    def at(self, *parts: str | int, **query: Any) -> str:
        """Address of a page of the console.

        Args:
            parts: of the path below /console, encoded here.
            query: parameters; empty ones are left out.
        """
        path = "".join(f"/{quote(str(part), safe='')}" for part in parts)
        given = {name: value for name, value in query.items() if value not in {"", None}}
        return self._prefix + CONSOLE + path + (f"?{urlencode(given)}" if given else "")

    def site(self, path: str) -> str:
        """Address of something of the gateway outside the console."""
        return self._prefix + path

    def show(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page, or only the template when htmx asks for a part and the template is one."""
        visitor = visitor_of(request)
        text = self._templates.get_template(template).render(
            visitor=visitor,
            site=self.site,
            here=request.url.path,
            back=_back(request),
            done=request.query_params.get("done", ""),
            **{"problem": None, **values},
        )
        response = HTMLResponse(text, status_code=status, headers=_HEADERS)
        if not visitor.token_known:
            remember_token(response, visitor, self.cookie_path)
        return response

    def refused(
        self, request: Request, error: PlatformError, template: str = "refused.html", **values: Any
    ) -> Response:
        """A page that tells of a refusal: the one that was refused, or a page of its own."""
        status, _ = status_of(error)
        return self.show(request, template, status=status, problem=error, **values)

    def guarded(self, show: Show) -> Handler:
        """A handler whose refusals become pages."""

        @functools.wraps(show)
        async def handle(request: Request) -> Response:
            try:
                return await show(request)
            except PlatformError as error:
                return self.refused(request, error)

        return handle

    def onwards(self, address: str) -> Response:
        """To another page, after something was done."""
        return RedirectResponse(address, status_code=303, headers=_HEADERS)

    def _asset(self, name: str) -> str:
        return self.at("static", name, v=asset_version(name))


def is_part(request: Request) -> bool:
    """Whether htmx asks, which puts the answer into a page that is there."""
    return request.headers.get("hx-request") == "true"


def _back(request: Request) -> str:
    """Where a form at the top of a page leads back to: the page, or the one whose form was refused."""
    shown = request.url if request.method == "GET" else urlsplit(request.headers.get("referer", ""))
    return shown.path + (f"?{shown.query}" if shown.query else "")


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _when(time_ms: int) -> str:
    return f"{_moment(time_ms):%Y-%m-%d %H:%M:%S}" if time_ms else "\N{EN DASH}"


def _iso(time_ms: int) -> str:
    return _moment(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "\N{EN DASH}"
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _marked(text: str) -> Markup:
    """Text with words in back-ticks as code."""
    parts = escape(text).split("`")
    return Markup().join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )
