"""gRPC handlers of ExperimentService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument
from runstream_common.rpc.server import Registration
from runstream_proto.metadata.v1 import experiment_service_pb2 as pb
from runstream_proto.metadata.v1 import experiment_service_pb2_grpc as pb_grpc

from runstream_metadata import rules
from runstream_metadata.api import mapping
from runstream_metadata.experiments import NewExperiment
from runstream_metadata.search.requests import ExperimentSearch

if TYPE_CHECKING:
    import grpc

    from runstream_metadata.experiments import Experiments

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's

MAX_LISTED_EXPERIMENTS = 20
"""Experiments of one ListDatasets (MLflow's search of datasets)."""


class ExperimentService(pb_grpc.ExperimentServiceServicer):
    """Experiments over gRPC."""

    def __init__(self, experiments: Experiments) -> None:
        self._experiments = experiments

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["ExperimentService"].full_name,
            pb_grpc.add_ExperimentServiceServicer_to_server,
            self,
        )

    async def CreateExperiment(
        self, request: pb.CreateExperimentRequest, context: Context
    ) -> pb.CreateExperimentResponse:
        """Create, or get the active one of the name when asked to."""
        new = NewExperiment(request.name, request.artifact_location, mapping.pairs(request.tags))
        experiment, created = await self._experiments.create(new, get_if_exists=request.get_if_exists)
        return pb.CreateExperimentResponse(experiment=mapping.experiment_message(experiment), created=created)

    async def GetExperiment(
        self, request: pb.GetExperimentRequest, context: Context
    ) -> pb.GetExperimentResponse:
        """Read one by id or name."""
        which = request.WhichOneof("identity")
        if which == "experiment_id":
            experiment = await self._experiments.get(rules.experiment_id(request.experiment_id))
        elif which == "name" and request.name:
            experiment = await self._experiments.get_by_name(request.name)
        else:
            raise InvalidArgument.of("identity", "give experiment_id or name")
        return pb.GetExperimentResponse(experiment=mapping.experiment_message(experiment))

    async def UpdateExperiment(
        self, request: pb.UpdateExperimentRequest, context: Context
    ) -> pb.UpdateExperimentResponse:
        """Rename."""
        experiment_id = rules.experiment_id(request.experiment_id)
        experiment = await self._experiments.rename(experiment_id, request.name)
        return pb.UpdateExperimentResponse(experiment=mapping.experiment_message(experiment))

    async def DeleteExperiment(
        self, request: pb.DeleteExperimentRequest, context: Context
    ) -> pb.DeleteExperimentResponse:
        """Mark deleted, with all runs."""
        await self._experiments.delete(rules.experiment_id(request.experiment_id))
        return pb.DeleteExperimentResponse()

    async def RestoreExperiment(
        self, request: pb.RestoreExperimentRequest, context: Context
    ) -> pb.RestoreExperimentResponse:
        """Bring back, with all runs."""
        await self._experiments.restore(rules.experiment_id(request.experiment_id))
        return pb.RestoreExperimentResponse()

    async def SearchExperiments(
        self, request: pb.SearchExperimentsRequest, context: Context
    ) -> pb.SearchExperimentsResponse:
        """One page of a search."""
        experiments, next_page_token = await self._experiments.search(
            ExperimentSearch(
                filter_text=request.filter,
                order_by=list(request.order_by),
                view_type=mapping.view_type(request.view_type),
                page_size=request.page_size,
                page_token=request.page_token,
                mlflow_strict=request.mlflow_grammar_only,
            )
        )
        return pb.SearchExperimentsResponse(
            experiments=[mapping.experiment_message(experiment) for experiment in experiments],
            next_page_token=next_page_token,
        )

    async def SetExperimentTags(
        self, request: pb.SetExperimentTagsRequest, context: Context
    ) -> pb.SetExperimentTagsResponse:
        """Set tags."""
        experiment_id = rules.experiment_id(request.experiment_id)
        await self._experiments.set_tags(experiment_id, mapping.pairs(request.tags))
        return pb.SetExperimentTagsResponse()

    async def DeleteExperimentTag(
        self, request: pb.DeleteExperimentTagRequest, context: Context
    ) -> pb.DeleteExperimentTagResponse:
        """Delete a tag."""
        if not request.key:
            raise InvalidArgument.of("key", "is required")
        await self._experiments.delete_tag(rules.experiment_id(request.experiment_id), request.key)
        return pb.DeleteExperimentTagResponse()

    async def ListDatasets(
        self, request: pb.ListDatasetsRequest, context: Context
    ) -> pb.ListDatasetsResponse:
        """List what runs used."""
        if not 1 <= len(request.experiment_ids) <= MAX_LISTED_EXPERIMENTS:
            raise InvalidArgument.of("experiment_ids", f"needs 1 to {MAX_LISTED_EXPERIMENTS} ids")
        experiment_ids = [
            rules.experiment_id(text, f"experiment_ids[{index}]")
            for index, text in enumerate(request.experiment_ids)
        ]
        found = await self._experiments.list_datasets(experiment_ids)
        return pb.ListDatasetsResponse(datasets=[mapping.dataset_summary_message(item) for item in found])
