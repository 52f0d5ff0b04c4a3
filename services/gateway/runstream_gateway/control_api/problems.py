"""Refusals as RFC 9457 problem details."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from runstream_common import errors
from starlette.responses import Response

from runstream_gateway.control.refusals import status_of

PROBLEM_JSON: Final = "application/problem+json"

_NAMED_FIELD: Final = re.compile(
    r"Object (?P<problem>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL
)


class Violation(Struct, frozen=True):
    """One thing that is wrong with one field of the request."""

    field: Annotated[str, Meta(description="Path, such as `document.rules[2].metric.condition`")]
    description: str


class Problem(Struct, frozen=True, kw_only=True):
    """Why a request was refused (RFC 9457)."""

    type: Annotated[str, Meta(description="`urn:runstream:problem:` and the reason")]
    title: str
    status: int
    detail: str
    reason: Annotated[str, Meta(description="Stable constant for programs, such as `PROMOTION_REFUSED`")]
    violations: list[Violation] = []
    metadata: Annotated[dict[str, str], Meta(description="Facts that a program may act on")] = {}


def problem_reply(error: errors.PlatformError) -> Response:
    """The answer for a refusal."""
    status, title = status_of(error)
    problem = Problem(
        type=f"urn:runstream:problem:{error.reason}",
        title=title,
        status=status,
        detail=error.message,
        reason=error.reason,
        violations=_violations(error),
        metadata=error.metadata,
    )
    return _reply(problem, getattr(error, "retry_after_seconds", None))


def unsupported_media_type() -> Response:
    """The answer to a body that is no JSON by its content type."""
    return _reply(
        Problem(
            type="urn:runstream:problem:UNSUPPORTED_MEDIA_TYPE",
            title="Unsupported media type",
            status=415,
            detail="the body must be application/json",
            reason="UNSUPPORTED_MEDIA_TYPE",
        )
    )


def invalid(error: Exception) -> errors.InvalidArgument:
    """What msgspec found wrong, as an error that names the field.

    Args:
        error: a ValidationError or DecodeError; its text ends with the place, "- at `$.rules[0]`", and may name a field
            of the object there.
    """
    text, separator, place = str(error).rpartition(" - at `$")
    if not separator:
        text, place = str(error), ""
    named = _NAMED_FIELD.fullmatch(text)
    if named is not None:
        text = "is required" if named["problem"] == "missing required" else "is not known"
        place = f"{place.rstrip('`')}.{named['name']}"
    return errors.InvalidArgument.of(place.rstrip("`").lstrip(".") or "body", text)


def _violations(error: errors.PlatformError) -> list[Violation]:
    if not isinstance(error, errors.InvalidArgument):
        return []
    return [Violation(item.field, item.description) for item in error.violations]


def _reply(problem: Problem, retry_after_seconds: float | None = None) -> Response:
    headers = {}
    if retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_seconds)))
    body = msgspec.json.encode(problem)
    return Response(body, status_code=problem.status, headers=headers, media_type=PROBLEM_JSON)
