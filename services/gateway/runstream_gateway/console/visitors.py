"""Who looks at a page, as three cookies say it: the name they act as, their colours, and their forms' token."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote, unquote

from runstream_common.rpc.actor import MAX_ACTOR_CHARS

from runstream_gateway.actors import basic_user

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

ACTOR_COOKIE: Final = "runstream_actor"
THEME_COOKIE: Final = "runstream_theme"
TOKEN_COOKIE: Final = "runstream_form_token"  # noqa: S105 - a cookie's name
YEAR_SECONDS: Final = 365 * 24 * 3600
_TOKEN_CHARS: Final = 43

Theme = Literal["auto", "light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a browser.

    Args:
        actor: name they act as; asserted, not proven, and empty when they have not said it.
        actor_fixed: whether HTTP Basic gave it, so that no cookie can change it.
        theme: colours; "auto" follows the system.
        token: what a form must carry, so that no other site can send one in their name.
        token_known: whether their browser has the token already.
    """

    actor: str
    actor_fixed: bool
    theme: Theme
    token: str
    token_known: bool


def visitor_of(request: Request) -> Visitor:
    """The visitor as their request describes them."""
    named = basic_user(request)
    theme = request.cookies.get(THEME_COOKIE, "auto")
    token = request.cookies.get(TOKEN_COOKIE, "")
    known = len(token) == _TOKEN_CHARS and token.isascii()
    return Visitor(
        actor=named or clean_name(unquote(request.cookies.get(ACTOR_COOKIE, ""))),
        actor_fixed=bool(named),
        theme=next((item for item in THEMES if item == theme), "auto"),
        token=token if known else secrets.token_urlsafe(32),
        token_known=known,
    )


def remember_token(response: Response, visitor: Visitor, path: str) -> None:
    """Give the browser the token of its forms."""
    response.set_cookie(TOKEN_COOKIE, visitor.token, path=path, httponly=True, samesite="strict")


def remember(response: Response, name: str, value: str, path: str) -> None:
    """Keep a preference for a year; an empty value forgets it."""
    if not value:
        response.delete_cookie(name, path=path, httponly=True, samesite="lax")
        return
    response.set_cookie(name, quote(value), max_age=YEAR_SECONDS, path=path, httponly=True, samesite="lax")


def clean_name(name: str) -> str:
    """A name as it may be acted under: printable, without blanks around it, not too long."""
    return "".join(char for char in name if char.isprintable()).strip()[:MAX_ACTOR_CHARS]
