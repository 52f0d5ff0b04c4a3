"""Puts the gateway together; the only module that knows every other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.service import Service

from runstream_gateway.backends import Backends
from runstream_gateway.control_api import services
from runstream_gateway.edge.application import Application
from runstream_gateway.edge.server import HttpServer
from runstream_gateway.mlflow_api.doors import mlflow_routes

if TYPE_CHECKING:
    from runstream_common.service import Runtime

    from runstream_gateway.routes import Route
    from runstream_gateway.settings import GatewaySettings


async def build(runtime: Runtime[GatewaySettings]) -> Service:
    """The gateway's parts in start order."""
    settings = runtime.settings
    backends = Backends(settings)
    application = Application(gateway_routes(settings, backends), settings)
    return Service([backends, HttpServer(settings, application)])


def gateway_routes(settings: GatewaySettings, backends: Backends) -> list[Route]:
    """Every route of every door."""
    del settings
    return [*services.routes(backends), *mlflow_routes(backends)]
