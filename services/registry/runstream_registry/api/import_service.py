"""gRPC handlers of ImportService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument
from runstream_common.rpc.server import Registration
from runstream_proto.registry.v1 import import_service_pb2 as pb
from runstream_proto.registry.v1 import import_service_pb2_grpc as pb_grpc

from runstream_registry import rules
from runstream_registry.api.actor import actor_of
from runstream_registry.models.imports import ForeignFacts

if TYPE_CHECKING:
    import grpc

    from runstream_registry.models.imports import Imports

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's


class ImportService(pb_grpc.ImportServiceServicer):
    """Facts of other deployments over gRPC."""

    def __init__(self, imports: Imports) -> None:
        self._imports = imports

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["ImportService"].full_name,
            pb_grpc.add_ImportServiceServicer_to_server,
            self,
        )

    async def ReserveVersions(
        self, request: pb.ReserveVersionsRequest, context: Context
    ) -> pb.ReserveVersionsResponse:
        """Take numbers out of use."""
        up_to = _positive(request.up_to_version, "up_to_version")
        last = await self._imports.reserve_versions(rules.required_name(request.name), up_to)
        return pb.ReserveVersionsResponse(last_version=last)

    async def AmendTimes(self, request: pb.AmendTimesRequest, context: Context) -> pb.AmendTimesResponse:
        """Set what is given."""
        facts = ForeignFacts(
            creation_time_ms=_positive(request.creation_time_ms, "creation_time_ms") or None,
            last_updated_time_ms=_positive(request.last_updated_time_ms, "last_updated_time_ms") or None,
            user_id=request.user_id,
        )
        number = _positive(request.version, "version")
        await self._imports.amend(rules.required_name(request.name), number, facts, actor=actor_of(context))
        return pb.AmendTimesResponse()


def _positive(number: int, field: str) -> int:
    if number < 0:
        raise InvalidArgument.of(field, f"is {number}, must be 0 or greater")
    return number
