"""gRPC handlers of ImportService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument
from runstream_common.rpc.server import Registration
from runstream_proto.metadata.v1 import import_service_pb2 as pb
from runstream_proto.metadata.v1 import import_service_pb2_grpc as pb_grpc

from runstream_metadata import rules
from runstream_metadata.api import mapping
from runstream_metadata.entities import LifecycleStage
from runstream_metadata.imports import ForeignExperiment

if TYPE_CHECKING:
    import grpc

    from runstream_metadata.imports import Imports

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

    async def ImportExperiment(
        self, request: pb.ImportExperimentRequest, context: Context
    ) -> pb.ImportExperimentResponse:
        """Create, or get the one of the name."""
        foreign = ForeignExperiment(
            name=request.name,
            experiment_id=rules.experiment_id(request.experiment_id) if request.experiment_id else None,
            artifact_location=request.artifact_location,
            tags=mapping.pairs(request.tags),
            creation_time_ms=_time(request.creation_time_ms, "creation_time_ms"),
        )
        experiment, created = await self._imports.experiment(foreign)
        return pb.ImportExperimentResponse(experiment=mapping.experiment_message(experiment), created=created)

    async def AmendExperiment(
        self, request: pb.AmendExperimentRequest, context: Context
    ) -> pb.AmendExperimentResponse:
        """Set what is given."""
        experiment = await self._imports.amend(
            rules.experiment_id(request.experiment_id),
            stage=_stage(request.lifecycle_stage),
            creation_time_ms=_time(request.creation_time_ms, "creation_time_ms"),
            last_update_time_ms=_time(request.last_update_time_ms, "last_update_time_ms"),
        )
        return pb.AmendExperimentResponse(experiment=mapping.experiment_message(experiment))


def _stage(number: int) -> LifecycleStage | None:
    if number and number not in set(LifecycleStage):
        raise InvalidArgument.of("lifecycle_stage", f"has no value {number}")
    return LifecycleStage(number) if number else None


def _time(time_ms: int, field: str) -> int | None:
    if time_ms < 0:
        raise InvalidArgument.of(field, f"is {time_ms}, must be 0 or greater")
    return time_ms or None
