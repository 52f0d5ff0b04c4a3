"""Who makes a call, as it travels in the request's metadata. It is asserted by the client, not proven.

Imports nothing but the standard library: the SDK uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

ACTOR_KEY = "runstream-actor"
UNKNOWN_ACTOR = "unknown"
MAX_ACTOR_CHARS = 256

# gRPC metadata is printable ASCII; everything else is percent-encoded, as in gRPC's own grpc-message.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def encode_actor(name: str) -> str:
    """A name as a value of request metadata; cut to MAX_ACTOR_CHARS, blanks around it dropped."""
    return quote(name.strip()[:MAX_ACTOR_CHARS], safe=_PLAIN)


def actor_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The name in a call's metadata (`context.invocation_metadata()`); "unknown" when it is missing or blank."""
    for key, value in metadata or ():
        if key == ACTOR_KEY and isinstance(value, str):
            return unquote(value).strip()[:MAX_ACTOR_CHARS] or UNKNOWN_ACTOR
    return UNKNOWN_ACTOR
