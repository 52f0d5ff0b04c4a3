"""gRPC handlers of LoggedModelService: translate, call, translate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument
from runstream_common.rpc.answers import check_answer_size
from runstream_common.rpc.server import Registration
from runstream_proto.metadata.v1 import logged_model_service_pb2 as pb
from runstream_proto.metadata.v1 import logged_model_service_pb2_grpc as pb_grpc

from runstream_metadata.api import logged_model_mapping as mapping
from runstream_metadata.api.mapping import pairs

if TYPE_CHECKING:
    import grpc

    from runstream_metadata.logged_models import LoggedModels

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's


class LoggedModelService(pb_grpc.LoggedModelServiceServicer):
    """Logged models over gRPC.

    Args:
        models: what the handlers call.
        max_message_bytes: largest answer.
    """

    def __init__(self, models: LoggedModels, *, max_message_bytes: int) -> None:
        self._models = models
        self._max_message_bytes = max_message_bytes

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["LoggedModelService"].full_name,
            pb_grpc.add_LoggedModelServiceServicer_to_server,
            self,
        )

    async def CreateLoggedModel(
        self, request: pb.CreateLoggedModelRequest, context: Context
    ) -> pb.CreateLoggedModelResponse:
        """Create, or return the model that has the id."""
        model, created = await self._models.create(
            mapping.new_logged_model(request), pairs(request.params), pairs(request.tags)
        )
        return pb.CreateLoggedModelResponse(model=mapping.logged_model_message(model), created=created)

    async def GetLoggedModel(
        self, request: pb.GetLoggedModelRequest, context: Context
    ) -> pb.GetLoggedModelResponse:
        """Read one."""
        model_id = _required("model_id", request.model_id)
        model = await self._models.get(model_id, allow_deleted=request.allow_deleted)
        return pb.GetLoggedModelResponse(model=mapping.logged_model_message(model))

    async def FinalizeLoggedModel(
        self, request: pb.FinalizeLoggedModelRequest, context: Context
    ) -> pb.FinalizeLoggedModelResponse:
        """Set the status."""
        model_id = _required("model_id", request.model_id)
        model = await self._models.set_status(model_id, mapping.status(request.status))
        return pb.FinalizeLoggedModelResponse(model=mapping.logged_model_message(model))

    async def DeleteLoggedModel(
        self, request: pb.DeleteLoggedModelRequest, context: Context
    ) -> pb.DeleteLoggedModelResponse:
        """Mark deleted."""
        await self._models.delete(_required("model_id", request.model_id))
        return pb.DeleteLoggedModelResponse()

    async def SetLoggedModelTags(
        self, request: pb.SetLoggedModelTagsRequest, context: Context
    ) -> pb.SetLoggedModelTagsResponse:
        """Set tags."""
        model_id = _required("model_id", request.model_id)
        model = await self._models.set_tags(model_id, pairs(request.tags))
        return pb.SetLoggedModelTagsResponse(model=mapping.logged_model_message(model))

    async def DeleteLoggedModelTag(
        self, request: pb.DeleteLoggedModelTagRequest, context: Context
    ) -> pb.DeleteLoggedModelTagResponse:
        """Delete a tag."""
        key = _required("key", request.key)
        await self._models.delete_tag(_required("model_id", request.model_id), key)
        return pb.DeleteLoggedModelTagResponse()

    async def LogLoggedModelParams(
        self, request: pb.LogLoggedModelParamsRequest, context: Context
    ) -> pb.LogLoggedModelParamsResponse:
        """Add params."""
        model_id = _required("model_id", request.model_id)
        model = await self._models.log_params(model_id, pairs(request.params))
        return pb.LogLoggedModelParamsResponse(model=mapping.logged_model_message(model))

    async def LogModelMetrics(
        self, request: pb.LogModelMetricsRequest, context: Context
    ) -> pb.LogModelMetricsResponse:
        """File points."""
        await self._models.log_metrics([mapping.model_metric(item) for item in request.metrics])
        return pb.LogModelMetricsResponse()

    async def SearchLoggedModels(
        self, request: pb.SearchLoggedModelsRequest, context: Context
    ) -> pb.SearchLoggedModelsResponse:
        """One page of a search, with fewer models than asked for when their points do not fit into a message."""
        search = mapping.logged_model_search(request)
        while True:
            models, next_page_token = await self._models.search(search)
            answer = pb.SearchLoggedModelsResponse(
                models=[mapping.logged_model_message(model) for model in models],
                next_page_token=next_page_token,
            )
            if answer.ByteSize() <= self._max_message_bytes or len(models) <= 1:
                check_answer_size(answer, self._max_message_bytes, "page_size")
                return answer
            search = replace(search, page_size=len(models) // 2)


def _required(field: str, text: str) -> str:
    if not text:
        raise InvalidArgument.of(field, "is required")
    return text
