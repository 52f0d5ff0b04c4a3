"""Forms that are sent: read, bounded, and known to come from a page of ours."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from runstream_common.errors import InvalidArgument, PermissionDenied

from runstream_gateway.console.visitors import TOKEN_COOKIE

if TYPE_CHECKING:
    from starlette.requests import Request

    from runstream_gateway.console.visitors import Visitor

MAX_FORM_BYTES: Final = 256 * 1024
MAX_FIELDS: Final = 2_000
TOKEN_FIELD: Final = "token"  # noqa: S105 - a field's name


class Form:
    """The fields of a form; a field may come several times."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def one(self, name: str) -> str:
        """The field's last value without blanks around it; empty when it is not there."""
        return next((value.strip() for field, value in reversed(self._fields) if field == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for field, value in self._fields if field == name]


async def read_form(request: Request) -> Form:
    """The form that a page of ours sent.

    Raises:
        InvalidArgument: it is no form.
        PermissionDenied: it does not carry the token of the visitor's browser.
    """
    body = await request.body()
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidArgument.of("form", f"cannot be read: {error}") from error
    form = Form(fields)
    # Double submit: another site can make a browser send the cookie, but cannot read it (OWASP CSRF cheat sheet).
    cookie = request.cookies.get(TOKEN_COOKIE, "")
    if not cookie or not secrets.compare_digest(form.one(TOKEN_FIELD).encode(), cookie.encode()):
        raise PermissionDenied(
            "this form is out of date; open the page once more and send it again", reason="FORM_TOKEN_WRONG"
        )
    return form


def acting(visitor: Visitor) -> str:
    """The name to act as.

    Raises:
        InvalidArgument: the visitor has not given one.
    """
    if not visitor.actor:
        raise InvalidArgument.of(
            "acting as",
            "say who you are first, at the top of the page: the audit trail names you",
            reason="ACTOR_REQUIRED",
        )
    return visitor.actor


def whole_number(text: str, field: str) -> int:
    """A positive number that somebody typed.

    Raises:
        InvalidArgument: it is none.
    """
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:11]) < 2**31:
        raise InvalidArgument.of(field, "must be a positive whole number")
    return int(text)
