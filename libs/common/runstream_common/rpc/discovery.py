"""Discovery: every service's address answers where all the services are."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from runstream_proto.common.v1 import discovery_service_pb2 as pb
from runstream_proto.common.v1 import discovery_service_pb2_grpc

from runstream_common.rpc.server import Registration

if TYPE_CHECKING:
    import grpc

    from runstream_common.settings import ServiceSettings

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["DiscoveryService"].full_name


class DiscoveryServicer(discovery_service_pb2_grpc.DiscoveryServiceServicer):
    """Answers from ``RUNSTREAM_SERVICES``; the answer never changes while the process runs."""

    def __init__(self, settings: ServiceSettings) -> None:
        kafka = settings.bus_url.get_secret_value().startswith("kafka://")
        self._answer = pb.ListServicesResponse(
            services=[
                pb.ServiceAddress(name=name, target=target)
                for name, target in sorted(settings.services.items())
            ],
            version=_own_version(),
            topology="kafka" if kafka else "embedded",
        )

    async def ListServices(  # noqa: N802 - gRPC's own naming
        self, request: pb.ListServicesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListServicesResponse:
        """The addresses as clients reach them."""
        del request, context
        return self._answer


def discovery_registration(settings: ServiceSettings) -> Registration:
    """Discovery, ready to be given to ``build_server``."""
    return Registration(
        name=SERVICE_NAME,
        add=discovery_service_pb2_grpc.add_DiscoveryServiceServicer_to_server,
        servicer=DiscoveryServicer(settings),
    )


def _own_version() -> str:
    try:
        return version("runstream-common")
    except PackageNotFoundError:
        # Run from a source tree that was never installed.
        return "unknown"
