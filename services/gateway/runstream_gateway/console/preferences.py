"""What a visitor chooses at the top of every page: a name to act as, and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runstream_gateway.console.forms import read_form
from runstream_gateway.console.visitors import ACTOR_COOKIE, THEME_COOKIE, THEMES, clean_name, remember

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.console.forms import Form
    from runstream_gateway.console.pages import Pages


class Preferences:
    """Keeps choices in cookies."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def actor(self, request: Request) -> Response:
        """Act under another name; an empty one forgets it."""
        form = await read_form(request)
        response = self._back(form)
        remember(response, ACTOR_COOKIE, clean_name(form.one("actor")), self._pages.cookie_path)
        return response

    async def theme(self, request: Request) -> Response:
        """Other colours; what is none of ours follows the system."""
        form = await read_form(request)
        response = self._back(form)
        chosen = form.one("theme")
        kept = chosen if chosen in THEMES and chosen != "auto" else ""
        remember(response, THEME_COOKIE, kept, self._pages.cookie_path)
        return response

    def _back(self, form: Form) -> Response:
        """To the page with the form; only ever to a page of ours."""
        there = urlsplit(form.one("back"))
        inside = there.path == self._pages.at() or there.path.startswith(self._pages.at() + "/")
        if there.scheme or there.netloc or not inside:
            return self._pages.onwards(self._pages.at())
        return self._pages.onwards(there.path + (f"?{there.query}" if there.query else ""))
