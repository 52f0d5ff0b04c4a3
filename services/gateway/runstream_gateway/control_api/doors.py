"""Every route of our own API, and its OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from runstream_gateway.control_api import (
    approval_area,
    audit_area,
    dead_letter_area,
    event_area,
    policy_area,
    promotion_area,
    services,
    status_area,
)
from runstream_gateway.control_api.operations import PREFIX
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.control.event_streams import EventStreams
    from runstream_gateway.control_api.operations import Operation

DOCUMENT_PATH: Final = f"{PREFIX}/openapi.json"


def control_operations(backends: Backends, streams: EventStreams) -> list[Operation]:
    """Operations of all areas, in the order in which the document tells of them."""
    return [
        *promotion_area.operations(backends),
        *approval_area.operations(backends),
        *policy_area.operations(backends),
        *audit_area.operations(backends),
        *event_area.operations(streams),
        *dead_letter_area.operations(backends),
        *status_area.operations(backends),
        *services.operations(backends),
    ]


def control_routes(operations: Sequence[Operation], document: Mapping[str, Any]) -> list[Route]:
    """Routes of the operations and of the document that describes them."""
    encoded = msgspec.json.encode(document)

    async def openapi(request: Request) -> Response:
        """The OpenAPI document."""
        del request
        return json_reply(encoded, headers={"Cache-Control": "no-cache"})

    return [Route("GET", DOCUMENT_PATH, openapi), *(operation.route() for operation in operations)]
