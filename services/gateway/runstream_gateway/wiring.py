"""Puts the gateway together; the only module that knows every other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.service import Service

from runstream_gateway.backends import Backends
from runstream_gateway.console.doors import console_routes
from runstream_gateway.control.event_streams import EventStreams
from runstream_gateway.control_api.doors import control_operations, control_routes
from runstream_gateway.control_api.openapi import openapi_document
from runstream_gateway.edge.application import Application
from runstream_gateway.edge.server import HttpServer
from runstream_gateway.edge.workers import ParentLink
from runstream_gateway.files.store import ArtifactFiles
from runstream_gateway.mlflow_api.artifacts.areas import artifact_routes
from runstream_gateway.mlflow_api.doors import mlflow_routes
from runstream_gateway.web_ui import pages as web_ui

if TYPE_CHECKING:
    from runstream_common.service import Runtime

    from runstream_gateway.routes import Route
    from runstream_gateway.settings import GatewaySettings


async def build(runtime: Runtime[GatewaySettings]) -> Service:
    """The gateway's parts in start order."""
    settings = runtime.settings
    backends = Backends(settings)
    streams = EventStreams(backends)
    files = ArtifactFiles(backends, settings)
    application = Application(gateway_routes(settings, backends, streams, files), settings)
    link = [] if settings.http_parent_fd is None else [ParentLink(settings.http_parent_fd)]
    return Service([backends, streams, files, HttpServer(settings, application), *link])


def gateway_routes(
    settings: GatewaySettings, backends: Backends, streams: EventStreams, files: ArtifactFiles
) -> list[Route]:
    """Every route of every door."""
    operations = control_operations(backends, streams)
    document = openapi_document(operations)
    return [
        *web_ui.routes(settings),
        *control_routes(operations, document),
        *console_routes(backends, prefix=settings.http_prefix, document=document),
        *artifact_routes(settings, backends, files),
        *mlflow_routes(backends),
    ]
