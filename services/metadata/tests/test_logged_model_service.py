"""LoggedModelService over gRPC: what clients see, and the errors they get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from runstream_common.clock import SystemClock
from runstream_common.errors import AlreadyExists, InvalidArgument, NotFound
from runstream_common.rpc.server import build_server
from runstream_common.rpc.status import from_rpc_error
from runstream_metadata.api.logged_model_service import LoggedModelService
from runstream_metadata.experiments import NewExperiment
from runstream_metadata.logged_models import LoggedModels
from runstream_metadata.settings import MetadataSettings
from runstream_proto.metadata.v1 import logged_model_service_pb2 as pb
from runstream_proto.metadata.v1 import types_pb2 as types
from runstream_proto.metadata.v1.logged_model_service_pb2_grpc import LoggedModelServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UNKNOWN = f"m-{'0' * 32}"


@pytest.fixture
async def stub(database, database_url) -> AsyncIterator[LoggedModelServiceStub]:
    settings = MetadataSettings(
        database_url=database_url, bus_url=database_url, grpc_host="127.0.0.1", grpc_port=0
    )
    service = LoggedModelService(LoggedModels(database, SystemClock()), max_message_bytes=20_000)
    server = build_server(settings, [service.registration()])
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield LoggedModelServiceStub(channel)
    await server.stop()


async def test_the_life_of_a_logged_model(stub, make_run):
    run = await make_run()
    pair = types.KeyValue(key="k", value="v")
    answer = await stub.CreateLoggedModel(
        pb.CreateLoggedModelRequest(experiment_id="0", name="forest", params=[pair], tags=[pair])
    )
    model_id = answer.model.model_id
    assert answer.created
    assert answer.model.status == pb.LOGGED_MODEL_STATUS_PENDING
    assert answer.model.artifact_uri == f"mlflow-artifacts:/0/models/{model_id}/artifacts"

    other = types.KeyValue(key="k2", value="v")
    await stub.LogLoggedModelParams(pb.LogLoggedModelParamsRequest(model_id=model_id, params=[other]))
    await stub.SetLoggedModelTags(pb.SetLoggedModelTagsRequest(model_id=model_id, tags=[other]))
    await stub.DeleteLoggedModelTag(pb.DeleteLoggedModelTagRequest(model_id=model_id, key="k"))
    point = pb.ModelMetric(
        model_id=model_id, run_id=run.run_id, key="acc", value=0.5, step=-1, timestamp_ms=7, dataset_name="d"
    )
    await stub.LogModelMetrics(pb.LogModelMetricsRequest(metrics=[point]))
    ready = await stub.FinalizeLoggedModel(
        pb.FinalizeLoggedModelRequest(model_id=model_id, status=pb.LOGGED_MODEL_STATUS_READY)
    )
    assert ready.model.status == pb.LOGGED_MODEL_STATUS_READY
    assert list(ready.model.params) == [pair, other]
    assert list(ready.model.tags) == [other]
    assert list(ready.model.metrics) == [point]

    order = pb.LoggedModelOrder(field_name="metrics.acc", ascending=False, dataset_name="d")
    search = pb.SearchLoggedModelsRequest(
        experiment_ids=["0"],
        filter="metrics.acc >= 0.5",
        order_by=[order],
        datasets=[pb.DatasetClause(dataset_name="d")],
    )
    assert list((await stub.SearchLoggedModels(search)).models) == [ready.model]

    await stub.DeleteLoggedModel(pb.DeleteLoggedModelRequest(model_id=model_id))
    assert not (await stub.SearchLoggedModels(search)).models
    kept = await stub.GetLoggedModel(pb.GetLoggedModelRequest(model_id=model_id, allow_deleted=True))
    assert kept.model.lifecycle_stage == types.LIFECYCLE_STAGE_DELETED


@pytest.mark.parametrize(
    ("method", "request_", "error", "reason"),
    [
        ("CreateLoggedModel", pb.CreateLoggedModelRequest(), InvalidArgument, "INVALID_ARGUMENT"),
        (
            "CreateLoggedModel",
            pb.CreateLoggedModelRequest(experiment_id="99"),
            NotFound,
            "EXPERIMENT_NOT_FOUND",
        ),
        ("GetLoggedModel", pb.GetLoggedModelRequest(), InvalidArgument, "INVALID_ARGUMENT"),
        ("GetLoggedModel", pb.GetLoggedModelRequest(model_id="x"), NotFound, "LOGGED_MODEL_NOT_FOUND"),
        (
            "DeleteLoggedModelTag",
            pb.DeleteLoggedModelTagRequest(model_id=UNKNOWN),
            InvalidArgument,
            "INVALID_ARGUMENT",
        ),
        (
            "FinalizeLoggedModel",
            pb.FinalizeLoggedModelRequest(model_id=UNKNOWN, status=7),
            InvalidArgument,
            "INVALID_ARGUMENT",
        ),
        ("LogModelMetrics", pb.LogModelMetricsRequest(), InvalidArgument, "INVALID_ARGUMENT"),
        ("SearchLoggedModels", pb.SearchLoggedModelsRequest(), InvalidArgument, "INVALID_ARGUMENT"),
        (
            "SearchLoggedModels",
            pb.SearchLoggedModelsRequest(experiment_ids=["0"], page_size=-1),
            InvalidArgument,
            "INVALID_ARGUMENT",
        ),
    ],
)
async def test_refusals(stub, method, request_, error, reason):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(stub, method)(request_)
    raised = from_rpc_error(refused.value)
    assert isinstance(raised, error)
    assert raised.reason == reason


async def test_pages_shrink_to_what_fits_into_a_message(stub):
    for number in range(5):
        request = pb.CreateLoggedModelRequest(
            experiment_id="0", name=f"model-{number}", creation_time_ms=number + 1
        )
        request.tags.add(key="large", value="x" * 6_000)
        await stub.CreateLoggedModel(request)

    names, sizes, token = [], [], ""
    while True:
        page = await stub.SearchLoggedModels(
            pb.SearchLoggedModelsRequest(experiment_ids=["0"], page_token=token)
        )
        names += [model.name for model in page.models]
        sizes.append(len(page.models))
        token = page.next_page_token
        if not token:
            break
    assert names == [f"model-{number}" for number in (4, 3, 2, 1, 0)]
    assert max(sizes) < 5


async def test_a_model_that_fits_into_no_page_is_told(stub):
    request = pb.CreateLoggedModelRequest(experiment_id="0")
    request.tags.add(key="large", value="x" * 30_000)
    await stub.CreateLoggedModel(request)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.SearchLoggedModels(pb.SearchLoggedModelsRequest(experiment_ids=["0"]))
    assert "page_size" in str(from_rpc_error(refused.value))


async def test_an_id_of_another_experiment_is_refused(stub, experiments):
    await stub.CreateLoggedModel(pb.CreateLoggedModelRequest(experiment_id="0", model_id=UNKNOWN))
    other, _ = await experiments.create(NewExperiment("other"))
    taken = pb.CreateLoggedModelRequest(experiment_id=str(other.experiment_id), model_id=UNKNOWN)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CreateLoggedModel(taken)
    assert isinstance(from_rpc_error(refused.value), AlreadyExists)
