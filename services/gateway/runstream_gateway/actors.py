"""Who makes a call, as the registry's audit trail names them. It is asserted by the client, not proven."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from runstream_common.rpc.actor import ACTOR_KEY, encode_actor

if TYPE_CHECKING:
    from starlette.requests import Request

ACTOR_HEADER: Final = "x-runstream-actor"
"""Name of the caller, percent-encoded where it is not ASCII; what HTTP Basic says comes before it."""


def named_actor(request: Request) -> str:
    """Who the request says makes it: the user of HTTP Basic (RFC 7617), else the header's name; empty for nobody."""
    return basic_user(request) or unquote(request.headers.get(ACTOR_HEADER, "")).strip()


def basic_user(request: Request) -> str:
    """The user of HTTP Basic; empty without one. No password is checked: a proxy in front may do that."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        # What cannot be read names nobody.
        return ""
    return text.partition(":")[0].strip()


def metadata_of(actor: str) -> tuple[tuple[str, str], ...]:
    """What a call of a service carries as its ``metadata``, so that the service knows who asks."""
    return ((ACTOR_KEY, encode_actor(actor)),)
