"""gRPC handlers of ModelService: translate, call, translate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.rpc.answers import check_answer_size
from runstream_common.rpc.server import Registration
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import model_service_pb2_grpc as pb_grpc

from runstream_registry import rules
from runstream_registry.api import mapping, model_requests
from runstream_registry.api.actor import actor_of
from runstream_registry.models.lineage import DEFAULT_DEPTH, MAX_DEPTH

if TYPE_CHECKING:
    import grpc

    from runstream_registry.models.evaluations import Evaluations
    from runstream_registry.models.lineage import Lineages
    from runstream_registry.models.models import Models
    from runstream_registry.models.tags import Tags
    from runstream_registry.models.versions import Versions
    from runstream_registry.search.searches import Searches

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's


@dataclass(frozen=True, slots=True)
class ModelUseCases:
    """What the handlers call."""

    models: Models
    versions: Versions
    tags: Tags
    searches: Searches
    lineages: Lineages
    evaluations: Evaluations


class ModelService(pb_grpc.ModelServiceServicer):
    """Models and versions over gRPC.

    Args:
        use_cases: what the handlers call.
        max_message_bytes: largest answer.
    """

    def __init__(self, use_cases: ModelUseCases, *, max_message_bytes: int) -> None:
        self._use = use_cases
        self._max_message_bytes = max_message_bytes

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["ModelService"].full_name,
            pb_grpc.add_ModelServiceServicer_to_server,
            self,
        )

    async def CreateModel(self, request: pb.CreateModelRequest, context: Context) -> pb.CreateModelResponse:
        """Create, or return the model that has the name."""
        new = model_requests.new_model(request, actor_of(context))
        model, created = await self._use.models.create(new, get_if_exists=request.get_if_exists)
        return pb.CreateModelResponse(model=mapping.model_message(model), created=created)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Read one model."""
        model = await self._use.models.get(rules.required_name(request.name))
        return pb.GetModelResponse(model=mapping.model_message(model))

    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Context) -> pb.UpdateModelResponse:
        """Set the description."""
        model = await self._use.models.update(
            rules.required_name(request.name), model_requests.description(request), actor=actor_of(context)
        )
        return pb.UpdateModelResponse(model=mapping.model_message(model))

    async def RenameModel(self, request: pb.RenameModelRequest, context: Context) -> pb.RenameModelResponse:
        """Set the name."""
        model = await self._use.models.rename(
            rules.required_name(request.name), model_requests.new_name(request), actor=actor_of(context)
        )
        return pb.RenameModelResponse(model=mapping.model_message(model))

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:
        """Mark deleted."""
        await self._use.models.delete(rules.required_name(request.name), actor=actor_of(context))
        return pb.DeleteModelResponse()

    async def SearchModels(
        self, request: pb.SearchModelsRequest, context: Context
    ) -> pb.SearchModelsResponse:
        """One page of a search."""
        models, token = await self._use.searches.models(model_requests.search(request))
        answer = pb.SearchModelsResponse(
            models=[mapping.model_message(model) for model in models], next_page_token=token
        )
        check_answer_size(answer, self._max_message_bytes, "page_size")
        return answer

    async def ChangeTags(self, request: pb.ChangeTagsRequest, context: Context) -> pb.ChangeTagsResponse:
        """Set and delete tags."""
        to_set, to_delete = model_requests.tag_changes(request)
        await self._use.tags.change(
            rules.required_name(request.name),
            request.version,
            to_set=to_set,
            to_delete=to_delete,
            actor=actor_of(context),
        )
        return pb.ChangeTagsResponse()

    async def CreateVersion(
        self, request: pb.CreateVersionRequest, context: Context
    ) -> pb.CreateVersionResponse:
        """Register, or return the version that has the id."""
        new = model_requests.new_version(request, actor_of(context))
        version, created = await self._use.versions.create(new)
        return pb.CreateVersionResponse(version=mapping.version_message(version), created=created)

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        """Read one version."""
        selector = mapping.selector(request.selector)
        version = await self._use.versions.get(rules.required_name(request.name), selector)
        return pb.GetVersionResponse(version=mapping.version_message(version))

    async def UpdateVersion(
        self, request: pb.UpdateVersionRequest, context: Context
    ) -> pb.UpdateVersionResponse:
        """Change what is given."""
        version = await self._use.versions.update(
            rules.required_name(request.name),
            rules.version_number(request.version),
            model_requests.version_update(request),
            actor=actor_of(context),
        )
        return pb.UpdateVersionResponse(version=mapping.version_message(version))

    async def DeleteVersion(
        self, request: pb.DeleteVersionRequest, context: Context
    ) -> pb.DeleteVersionResponse:
        """Mark deleted."""
        number = rules.version_number(request.version)
        await self._use.versions.delete(rules.required_name(request.name), number, actor=actor_of(context))
        return pb.DeleteVersionResponse()

    async def SearchVersions(
        self, request: pb.SearchVersionsRequest, context: Context
    ) -> pb.SearchVersionsResponse:
        """One page of a search."""
        versions, token = await self._use.searches.versions(model_requests.search(request))
        answer = pb.SearchVersionsResponse(
            versions=[mapping.version_message(version) for version in versions], next_page_token=token
        )
        check_answer_size(answer, self._max_message_bytes, "page_size")
        return answer

    async def GetLatestVersions(
        self, request: pb.GetLatestVersionsRequest, context: Context
    ) -> pb.GetLatestVersionsResponse:
        """Read the highest version of each stage."""
        stages = [mapping.stage(number, f"stages[{index}]") for index, number in enumerate(request.stages)]
        versions = await self._use.versions.latest(rules.required_name(request.name), stages)
        return pb.GetLatestVersionsResponse(
            versions=[mapping.version_message(version) for version in versions]
        )

    async def ResolveVersion(
        self, request: pb.ResolveVersionRequest, context: Context
    ) -> pb.ResolveVersionResponse:
        """Find a version and its files."""
        selector = mapping.selector(request.selector)
        version = await self._use.versions.resolve(rules.required_name(request.name), selector)
        return pb.ResolveVersionResponse(
            version=version.version,
            version_id=version.version_id,
            artifacts=mapping.artifacts_message(version.artifacts),
            run_id=version.run_id,
            source=version.source,
        )

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, context: Context) -> pb.DeleteAliasResponse:
        """Delete an alias."""
        alias = rules.alias(request.alias, reserved=True)
        await self._use.versions.delete_alias(
            rules.required_name(request.name), alias, actor=actor_of(context)
        )
        return pb.DeleteAliasResponse()

    async def GetLineage(self, request: pb.GetLineageRequest, context: Context) -> pb.GetLineageResponse:
        """Read where a version came from and went."""
        depth = model_requests.lineage_depth(request.depth, default=DEFAULT_DEPTH, at_most=MAX_DEPTH)
        number = rules.version_number(request.version)
        lineage = await self._use.lineages.get(rules.required_name(request.name), number, depth=depth)
        return mapping.lineage_message(lineage)

    async def RecordEvaluation(
        self, request: pb.RecordEvaluationRequest, context: Context
    ) -> pb.RecordEvaluationResponse:
        """Record the outcome of an evaluation."""
        new = model_requests.new_evaluation(request)
        number = rules.version_number(request.version)
        name = rules.required_name(request.name)
        await self._use.evaluations.record(name, number, new, actor=actor_of(context))
        return pb.RecordEvaluationResponse()
