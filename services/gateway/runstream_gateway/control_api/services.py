"""Where the services are: for clients that know the gateway's address and want to speak gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct
from runstream_proto.common.v1 import discovery_service_pb2 as pb
from runstream_proto.common.v1.discovery_service_pb2_grpc import DiscoveryServiceStub

from runstream_gateway.control.messages import answer_of, value_of
from runstream_gateway.control_api.operations import Call, Operation

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends
    from runstream_gateway.control.values import Nothing


class ServiceTarget(Struct, frozen=True):
    """A service and its gRPC target; one without a host means the host of this answer."""

    name: str
    target: Annotated[str, Meta(description="`host:port`")]


class Deployment(Struct, frozen=True):
    """The services of the deployment."""

    services: list[ServiceTarget]
    version: str
    topology: Annotated[str, Meta(description="`embedded` or `kafka`")]


def operations(backends: Backends) -> list[Operation]:
    """Operations of this area."""
    discovery = DiscoveryServiceStub(backends.channels["metadata"])

    async def get(call: Call[Nothing, Nothing, Nothing]) -> Deployment:
        del call
        request = pb.ListServicesRequest()
        return value_of(
            await answer_of(discovery.ListServices(request, timeout=backends.timeout_seconds)), Deployment
        )

    return [
        Operation(
            method="GET",
            path="/services",
            run=get,
            summary="Where the services listen for gRPC",
            tag="status",
            name="listServices",
            answer=Deployment,
        )
    ]
