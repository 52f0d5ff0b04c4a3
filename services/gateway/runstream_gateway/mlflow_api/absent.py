"""Areas of MLflow's API that this server does not cover: what it answers, so that clients and pages say so.

A table: to cover an area, delete its rows here and offer routes elsewhere. A route for one path of an area wins over the
area's row, so an area may also be covered path by path.

Nothing here answers 500 or 503, which MLflow's client repeats for minutes; 501 it takes at once, with the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.routes import Handler

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_V2, _V3 = "/api/2.0/mlflow", "/api/3.0/mlflow"
_AJAX_V2, _AJAX_V3 = "/ajax-api/2.0/mlflow", "/ajax-api/3.0/mlflow"


@dataclass(frozen=True, slots=True)
class Area:
    """What is not covered.

    Args:
        message: what a person is told.
        roots: every path that is one of these or below one; those under /api also stand for their twins.
    """

    message: str
    roots: tuple[str, ...]


AREAS: Final = (
    Area(
        # MLflow's client stops to send spans for good when it reads the first of these sentences.
        "REST OTLP span logging is not supported: tracing is not part of this server yet.",
        ("/v1/traces",),
    ),
    Area(
        "Traces are not part of this server yet.",
        (
            f"{_V2}/traces",
            f"{_V3}/traces",
            f"{_V2}/get-online-trace-details",
            f"{_V2}/unified-traces",
            f"{_AJAX_V2}/get-trace-artifact",
            f"{_AJAX_V3}/get-trace-artifact",
        ),
    ),
    Area("Evaluation datasets are not part of this server yet.", (f"{_V3}/datasets",)),
    Area("Judges and scorers are not part of this server yet.", (f"{_V3}/scorers", f"{_AJAX_V3}/scorer")),
    Area(
        "Reviews of traces are not part of this server yet.",
        (f"{_V3}/label-schemas", f"{_V3}/review-queues"),
    ),
    Area("Issues of traces are not part of this server yet.", (f"{_V3}/issues",)),
    Area(
        "Server-side jobs are not part of this server yet.",
        ("/ajax-api/3.0/jobs", f"{_AJAX_V3}/jobs", f"{_AJAX_V3}/genai", f"{_V3}/prompt-optimization"),
    ),
    Area(
        "The AI gateway is not part of this server.",
        (f"{_AJAX_V2}/gateway-proxy", f"{_V3}/gateway", "/gateway"),
    ),
    Area("The MCP registry is not part of this server.", (f"{_V3}/mcp-servers",)),
    Area("The assistant is not part of this server.", (f"{_AJAX_V3}/assistant",)),
    Area("This server has no workspaces.", (f"{_V3}/workspaces",)),
    Area("This server makes no demo data.", (f"{_AJAX_V3}/demo",)),
    Area(
        "Runs of the prompt lab are not part of this server: it needs the AI gateway.",
        (f"{_AJAX_V2}/runs/create-promptlab-run",),
    ),
)
"""What is answered with 501 and the message."""

EMPTY: Final[dict[tuple[str, str], Any]] = {
    # Asked on every page; the UI then shows no assistant and no providers.
    ("GET", f"{_AJAX_V3}/assistant/config"): {
        "providers": {},
        "projects": {},
        "remote_access_allowed": False,
    },
    ("GET", f"{_AJAX_V3}/assistant/providers"): {"providers": []},
    # Asked by the table of runs for models that could be evaluated.
    ("GET", f"{_AJAX_V2}/gateway-proxy"): {"endpoints": []},
}
"""What is answered as by a server that has none of it, since pages of covered areas ask for it."""


def routes() -> list[Route]:
    """Routes of what is absent. They come last, so that every other route wins."""
    return [*_empty_routes(), *_area_routes()]


def _empty_routes() -> Iterator[Route]:
    for (method, path), body in EMPTY.items():
        yield Route(method, path, _answering(body, 200))


def _area_routes() -> Iterator[Route]:
    for area in AREAS:
        handler = _answering({"error_code": "NOT_IMPLEMENTED", "message": area.message}, 501)
        for root in area.roots:
            for path in (root, f"{root}/{{rest:path}}"):
                for method in _METHODS:
                    if (method, path) not in EMPTY:
                        yield Route(method, path, handler, name=root)


def _answering(body: Any, status: int) -> Handler:
    async def answer(request: Request) -> Response:
        del request
        return json_reply(body, status=status)

    return answer
