"""What a webhook may look like: checked before anything is stored, everything that is wrong told at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from yarl import URL

from runstream_registry.notices import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.violations import Violations

    from runstream_registry.webhook_entities import WebhookEvent

MAX_URL_LENGTH: Final = 2_000
MAX_DESCRIPTION_LENGTH: Final = 1_000
MAX_MODELS_LENGTH: Final = 256
MAX_SECRET_LENGTH: Final = 1_000
MAX_OVERLAP_HOURS: Final = 168

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""MLflow's rule."""

_LEGACY_IPV4: Final = re.compile(r"(?:0[xX][0-9a-fA-F]*|\d+)(?:\.(?:0[xX][0-9a-fA-F]*|\d+))*")
"""Spellings that C libraries read as an IPv4 address, such as 127.1 and 0x7f000001."""

_CANONICAL_IPV4: Final = re.compile(r"(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})")

HTTP_PORTS: Final = frozenset({80, 443})
FIRST_FREE_PORT: Final = 1024
"""Ports below belong to other protocols, which must not be fed with our requests."""


def check_name(name: str, violations: Violations) -> None:
    """Note a name that MLflow would not take."""
    if not name:
        violations.add("name", "is required")
    elif not _NAME.fullmatch(name):
        violations.add(
            "name",
            'must have 1 to 63 letters, digits, ".", "_" and "-", and begin and end with a letter or digit',
        )


def check_url(text: str, violations: Violations, *, allow_http: bool) -> URL | None:
    """Note a URL that cannot be called; read as the HTTP client reads it.

    Returns:
        The URL; None when it was noted.
    """
    problem, url = _url_problem(text, allow_http=allow_http)
    if problem:
        violations.add("url", problem)
        return None
    return url


def _url_problem(text: str, *, allow_http: bool) -> tuple[str, URL | None]:
    if not text:
        return "is required", None
    if len(text) > MAX_URL_LENGTH:
        return f"has {len(text)} characters, at most {MAX_URL_LENGTH} are allowed", None
    if any(sign.isspace() or not sign.isprintable() or sign == "\\" for sign in text):
        return "must have no spaces, backslashes or control characters", None
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        return f"is not a URL: {error}", None
    return _parts_problem(url, port, allow_http=allow_http), url


def _parts_problem(url: URL, port: int | None, *, allow_http: bool) -> str:
    if url.scheme != "https" and not (allow_http and url.scheme == "http"):
        return "must begin with https://" + (" or http://" if allow_http else "")
    if not url.host:
        return "must name a host"
    if url.raw_user is not None or url.raw_password is not None or url.raw_fragment:
        return "must hold no user name, password or fragment"
    if port is None or not (port in HTTP_PORTS or port >= FIRST_FREE_PORT):
        return "must have port 80, 443, or 1024 and higher"
    if _LEGACY_IPV4.fullmatch(url.host.rstrip(".")) and not _CANONICAL_IPV4.fullmatch(url.host):
        return "must spell an IPv4 address as four decimal numbers"
    return ""


def check_events(events: Sequence[WebhookEvent], violations: Violations) -> None:
    """Note a list that is empty or names events that there are none of."""
    if not events:
        violations.add("events", "needs at least one")
    for index, event in enumerate(events):
        check_event(event, f"events[{index}]", violations)


def check_event(event: WebhookEvent, field: str, violations: Violations) -> None:
    """Note an event that there is none of."""
    actions = EXAMPLES.get(event.entity)
    if actions is None:
        violations.add(f"{field}.entity", f"must be one of {', '.join(EXAMPLES)}")
    elif event.action not in actions:
        violations.add(f"{field}.action", f"must be one of {', '.join(actions)} for {event.entity}")


def check_secret(secret: str, violations: Violations) -> None:
    """Note a secret that is too long; empty means none. How short it may be is the user's own matter (MLflow)."""
    if len(secret) > MAX_SECRET_LENGTH or "\0" in secret:
        violations.add("secret", f"must have at most {MAX_SECRET_LENGTH} characters, and no NUL")


def check_overlap_hours(hours: int, violations: Violations) -> None:
    """Note an overlap of two secrets that is too long."""
    if not 0 <= hours <= MAX_OVERLAP_HOURS:
        violations.add("overlap_hours", f"must be 0 to {MAX_OVERLAP_HOURS}")


def like_pattern(glob: str) -> str:
    """A glob as LIKE takes it: ``*`` is any text, ``?`` one character, everything else itself; empty means all."""
    if not glob:
        return "%"
    escaped = glob.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return escaped.replace("*", "%").replace("?", "_")
