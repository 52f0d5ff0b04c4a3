"""What the server is and can do: /health, /version and server-info."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.version import VERSION
from starlette.responses import PlainTextResponse, Response

from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request


def routes() -> list[Route]:
    """Routes of this area."""
    return [
        Route("GET", "/health", health),
        Route("GET", "/version", version),
        Route("GET", "/api/3.0/mlflow/server-info", server_info),
        Route("GET", "/ajax-api/3.0/mlflow/ui-telemetry", no_telemetry),
        Route("POST", "/ajax-api/3.0/mlflow/ui-telemetry", drop_telemetry),
    ]


async def health(request: Request) -> Response:
    """Liveness, as MLflow tells it."""
    del request
    return PlainTextResponse("OK")


async def version(request: Request) -> Response:
    """The release of MLflow that the API is that of; clients choose how to send spans by it."""
    del request
    return PlainTextResponse(VERSION)


async def server_info(request: Request) -> Response:
    """Capabilities that the client and the UI ask for."""
    del request
    return json_reply(
        {
            "store_type": "SqlStore",
            "workspaces_enabled": False,
            "trace_archival_enabled": False,
            "multipart_uploads_enabled": False,
            "multipart_downloads_enabled": False,
            "features_enabled": {"gateway": False},
        }
    )


async def no_telemetry(request: Request) -> Response:
    """Tells the UI to send nothing about how it is used."""
    del request
    return json_reply({"disable_ui_telemetry": True, "disable_ui_events": [], "ui_rollout_percentage": 0})


async def drop_telemetry(request: Request) -> Response:
    """A page that was loaded elsewhere may send all the same: it is thrown away."""
    del request
    return json_reply({"status": "disabled"})
