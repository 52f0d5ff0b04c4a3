"""Where the services are: for clients that know the gateway's address and want to speak gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from runstream_proto.common.v1 import discovery_service_pb2 as pb
from runstream_proto.common.v1.discovery_service_pb2_grpc import DiscoveryServiceStub

from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends

PATH = "/api/runstream/v1/services"


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    return [Route("GET", PATH, Services(backends).get)]


class Services:
    """Passes on what the metadata service tells of the deployment."""

    def __init__(self, backends: Backends) -> None:
        self._discovery = DiscoveryServiceStub(backends.channels["metadata"])
        self._timeout = backends.timeout_seconds

    async def get(self, request: Request) -> Response:
        """The services by name, each with its gRPC target; one without a host means the host of this answer."""
        del request
        try:
            answer = await self._discovery.ListServices(pb.ListServicesRequest(), timeout=self._timeout)
        except grpc.RpcError as error:
            return json_reply(
                {
                    "title": "the metadata service cannot be reached",
                    "status": 503,
                    "detail": str(error.details()),
                },
                status=503,
                headers={"Content-Type": "application/problem+json", "Retry-After": "1"},
            )
        return json_reply(
            {
                "services": [{"name": item.name, "target": item.target} for item in answer.services],
                "version": answer.version,
                "topology": answer.topology,
            }
        )
