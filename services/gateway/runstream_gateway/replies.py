"""Answers that every door gives: JSON bytes without a detour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"

_encode = msgspec.json.encode


def json_reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer.

    Args:
        value: anything msgspec encodes; bytes are taken as JSON text that is ready.
        status: HTTP status.
        headers: further headers.
    """
    body = value if isinstance(value, bytes) else _encode(value)
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=JSON)


class PackedResponse(Response):
    """An answer that is at hand as gzip too; the edge sends what the client takes.

    Args:
        body: the answer as it is.
        packed: the same as gzip; None when it does not pay.
        headers: further headers.
        media_type: content type, with its charset.
    """

    def __init__(
        self, body: bytes, packed: bytes | None, *, headers: Mapping[str, str], media_type: str
    ) -> None:
        super().__init__(body, headers={**headers, "Content-Type": media_type})
        self.packed = packed
