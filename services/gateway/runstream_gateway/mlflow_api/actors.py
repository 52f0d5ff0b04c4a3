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

DEFAULT_ACTOR: Final = "mlflow-client"
"""Who is named when a request says nothing: MLflow's client without credentials."""


def actor_of(request: Request) -> str:
    """Who makes the request: the user of HTTP Basic (RFC 7617), else the header's name, else ``DEFAULT_ACTOR``."""
    named = _basic_user(request.headers.get("authorization", ""))
    return named or unquote(request.headers.get(ACTOR_HEADER, "")).strip() or DEFAULT_ACTOR


def actor_metadata(request: Request) -> tuple[tuple[str, str], ...]:
    """What a call of a service carries as its ``metadata``, so that the service knows who asks."""
    return ((ACTOR_KEY, encode_actor(actor_of(request))),)


def _basic_user(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        # The gateway checks no passwords: what it cannot read names nobody.
        return ""
    return text.partition(":")[0].strip()
