"""What the server is and can do: /health, /version and server-info."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import structlog
from mlflow.version import VERSION
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.artifact.v1.artifact_service_pb2 import DescribeStoreRequest
from starlette.responses import PlainTextResponse, Response

from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from runstream_gateway.backends import Backends


log = structlog.get_logger(__name__)

STORE_SECONDS = 1.0
"""Patience with the artifact service: clients wait three seconds for all of the answer."""


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    info = ServerInfo(backends)
    return [
        Route("GET", "/health", health),
        Route("GET", "/version", version),
        Route("GET", "/api/3.0/mlflow/server-info", info.answer),
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


class ServerInfo:
    """Capabilities that the client and the UI ask for."""

    def __init__(self, backends: Backends) -> None:
        self._artifacts = backends.artifacts
        self._clients_reach_store: bool | None = None

    async def answer(self, request: Request) -> Response:
        """server-info."""
        del request
        return json_reply(
            {
                "store_type": "SqlStore",
                "workspaces_enabled": False,
                "trace_archival_enabled": False,
                # Of files from 500 MiB on; parts go in parallel, to the object store or through here.
                "multipart_uploads_enabled": True,
                # Makes clients ask for a signed URL before each file, however small: only worth it to reach the store itself.
                "multipart_downloads_enabled": await self._clients_reach_the_store(),
                "features_enabled": {"gateway": False},
            }
        )

    async def _clients_reach_the_store(self) -> bool:
        if self._clients_reach_store is None:
            try:
                store = await self._artifacts.DescribeStore(DescribeStoreRequest(), timeout=STORE_SECONDS)
            except grpc.RpcError as error:
                log.warning("object_store_not_described", error=str(from_rpc_error(error)))
                return False
            self._clients_reach_store = store.clients_reach_it
        return self._clients_reach_store


async def no_telemetry(request: Request) -> Response:
    """Tells the UI to send nothing about how it is used."""
    del request
    return json_reply({"disable_ui_telemetry": True, "disable_ui_events": [], "ui_rollout_percentage": 0})


async def drop_telemetry(request: Request) -> Response:
    """A page that was loaded elsewhere may send all the same: it is thrown away."""
    del request
    return json_reply({"status": "disabled"})
