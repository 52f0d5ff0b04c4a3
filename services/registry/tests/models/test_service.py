"""ModelService as clients see it: the whole service in this process, over gRPC."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from runstream_common.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PlatformError,
)
from runstream_common.rpc.actor import ACTOR_KEY
from runstream_common.rpc.server import GrpcServer
from runstream_common.rpc.status import from_rpc_error
from runstream_common.service import Runtime
from runstream_contract.ids import new_run_id
from runstream_proto.common.v1 import operations_service_pb2 as operations_pb
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import types_pb2 as types
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub
from runstream_registry.settings import RegistrySettings
from runstream_registry.wiring import build, migrate

from tests.support.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from tests.support.postgres import PostgresServer

NOBODY_HOME = "127.0.0.1:1"
TAGS = [types.Tag(key="team", value="x")]


@pytest.fixture
def settings(database_url: str) -> RegistrySettings:
    return RegistrySettings(
        database_url=database_url,
        bus_url=database_url,
        grpc_host="127.0.0.1",
        grpc_port=0,
        metadata_target=NOBODY_HOME,
        artifact_target=NOBODY_HOME,
        shutdown_grace_seconds=5,
    )


@pytest.fixture
async def channel(settings: RegistrySettings) -> AsyncIterator[grpc.aio.Channel]:
    await migrate(settings)
    runtime = Runtime("registry", settings)
    service = await build(runtime)
    async with contextlib.AsyncExitStack() as running:
        for component in service.components:
            await component.start()
            running.push_async_callback(component.stop)
        running.push_async_callback(runtime.tasks.stop)
        server = next(item for item in service.components if isinstance(item, GrpcServer))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
            yield opened


@pytest.fixture
def models(channel: grpc.aio.Channel) -> Any:
    return ModelServiceStub(channel)


async def refusal(call: Awaitable[object]) -> PlatformError:
    """The error that a call ends with, as the SDK sees it."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return from_rpc_error(raised.value)


async def test_it_does_not_start_on_a_schema_that_was_not_migrated(postgres_server: PostgresServer) -> None:
    with fresh_database(postgres_server) as url:
        settings = RegistrySettings(database_url=url, bus_url=url)
        with pytest.raises(FailedPrecondition, match="runstream_registry migrate"):
            await build(Runtime("registry", settings))


async def test_a_model_from_its_creation_to_its_end(models: Any) -> None:
    made = await models.CreateModel(pb.CreateModelRequest(name="iris", description="flowers", tags=TAGS))
    again = await models.CreateModel(pb.CreateModelRequest(name="iris", get_if_exists=True))
    created = await models.CreateVersion(
        pb.CreateVersionRequest(name="iris", source="s3://a/b", run_id="r", tags=TAGS, signature_json="{}"),
        metadata=[(ACTOR_KEY, "ada")],
    )
    by_number = pb.VersionSelector(version=1)
    version = (await models.GetVersion(pb.GetVersionRequest(name="iris", selector=by_number))).version
    resolved = await models.ResolveVersion(
        pb.ResolveVersionRequest(name="iris", selector=pb.VersionSelector(alias="latest"))
    )
    await models.UpdateModel(pb.UpdateModelRequest(name="iris", description="new"))
    await models.RenameModel(pb.RenameModelRequest(name="iris", new_name="flowers"))
    found = (await models.SearchModels(pb.SearchModelsRequest(filter="tags.team = 'x'"))).models
    await models.ChangeTags(pb.ChangeTagsRequest(name="flowers", delete_keys=["team"]))
    await models.RecordEvaluation(
        pb.RecordEvaluationRequest(name="flowers", version=1, evaluation="e", passed=True)
    )
    await models.DeleteAlias(pb.DeleteAliasRequest(name="flowers", alias="missing"))
    updated = await models.UpdateVersion(
        pb.UpdateVersionRequest(name="flowers", version=1, status=types.VERSION_STATUS_FAILED)
    )
    latest = await models.GetLatestVersions(pb.GetLatestVersionsRequest(name="flowers"))
    lineage = await models.GetLineage(pb.GetLineageRequest(name="flowers", version=1))
    await models.DeleteVersion(pb.DeleteVersionRequest(name="flowers", version=1))
    model = (await models.GetModel(pb.GetModelRequest(name="flowers"))).model
    await models.DeleteModel(pb.DeleteModelRequest(name="flowers"))

    assert (made.created, again.created, created.created) == (True, False, True)
    assert again.model == made.model
    assert version == created.version
    assert (version.user_id, version.stage, version.status) == (
        "ada",
        types.STAGE_NONE,
        types.VERSION_STATUS_READY,
    )
    assert (resolved.version, resolved.version_id) == (1, version.version_id)
    assert (resolved.artifacts.uri, resolved.source, resolved.run_id) == ("s3://a/b", "s3://a/b", "r")
    assert [(item.name, item.version_count, len(item.latest_versions)) for item in found] == [
        ("flowers", 1, 1)
    ]
    assert updated.version.status == latest.versions[0].status == types.VERSION_STATUS_FAILED
    assert (lineage.version.name, lineage.run.run_id) == ("flowers", "r")
    assert (list(model.tags), model.version_count, model.description) == ([], 0, "new")
    gone = await refusal(models.GetModel(pb.GetModelRequest(name="flowers")))
    assert isinstance(gone, NotFound)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"source": ""}, "source"),
        ({"source": "/tmp/x"}, "source"),
        ({"tags": [types.Tag(key="", value="v")]}, "tags[0].key"),
        ({"tags": [types.Tag(key="k", value="v" * 100_001)]}, "tags[0].value"),
        ({"tags": [types.Tag(key=str(n)) for n in range(10_001)]}, "tags"),
        ({"description": "x" * 100_001}, "description"),
        ({"signature_json": "{"}, "signature_json"),
        ({"signature_json": "[" * 50_000}, "signature_json"),
        ({"flavors_json": "[]"}, "flavors_json"),
        ({"parents": [types.ParentVersion(name="iris")]}, "parents[0].version"),
        ({"parents": [types.ParentVersion(name="iris", version=9)]}, "parents[0]"),
        ({"version_id": "short"}, "version_id"),
        ({"run_link": "x\0"}, "run_link"),
    ],
)
async def test_wrong_versions_name_their_field(models: Any, fields: dict[str, Any], field: str) -> None:
    await models.CreateModel(pb.CreateModelRequest(name="iris"))
    request = pb.CreateVersionRequest(**{"name": "iris", "source": "s3://a", **fields})
    error = await refusal(models.CreateVersion(request))

    assert isinstance(error, InvalidArgument)
    assert [violation.field for violation in error.violations] == [field]


async def test_refusals_carry_code_and_reason(models: Any) -> None:
    await models.CreateModel(pb.CreateModelRequest(name="iris"))
    await models.CreateVersion(pb.CreateVersionRequest(name="iris", source="s3://a"))

    def get(**selector: Any) -> Awaitable[object]:
        request = pb.GetVersionRequest(name="iris", selector=pb.VersionSelector(**selector))
        answer: Awaitable[object] = models.GetVersion(request)
        return answer

    taken = await refusal(models.CreateModel(pb.CreateModelRequest(name="iris")))
    alias = await refusal(get(alias="nobody"))
    number = await refusal(get(version=2))
    nothing = await refusal(get())
    stage = await refusal(get(stage=9))
    model = await refusal(models.CreateVersion(pb.CreateVersionRequest(name="nowhere", source="s3://a")))
    depth = await refusal(models.GetLineage(pb.GetLineageRequest(name="iris", version=1, depth=21)))

    assert (type(taken), taken.reason) == (AlreadyExists, "MODEL_NAME_TAKEN")
    assert (type(alias), alias.reason) == (InvalidArgument, "ALIAS_NOT_FOUND")
    assert (type(number), number.reason) == (NotFound, "VERSION_NOT_FOUND")
    assert (type(model), model.reason) == (NotFound, "MODEL_NOT_FOUND")
    assert {type(item) for item in (nothing, stage, depth)} == {InvalidArgument}


async def test_what_needs_another_service_says_that_it_is_away_and_the_rest_works(models: Any) -> None:
    run_id = new_run_id()
    await models.CreateModel(pb.CreateModelRequest(name="iris"))
    ours = await refusal(
        models.CreateVersion(pb.CreateVersionRequest(name="iris", source=f"runs:/{run_id}/model"))
    )
    created = await models.CreateVersion(pb.CreateVersionRequest(name="iris", source="s3://a", run_id=run_id))
    lineage = await models.GetLineage(pb.GetLineageRequest(name="iris", version=1))

    assert ours.retryable
    assert created.version.version == 1
    assert (lineage.run.run_id, lineage.run.lifecycle_stage) == (run_id, "unknown")


async def test_changes_reach_the_bus_in_order(channel: grpc.aio.Channel, models: Any) -> None:
    consumer = OperationsServiceStub(channel).ConsumeEvents()
    start = operations_pb.StartConsuming(topic="model-version-created", group="order")
    await consumer.write(operations_pb.ConsumeEventsRequest(start=start))
    assert (await consumer.read()).started.created
    await models.CreateModel(pb.CreateModelRequest(name="iris"))
    for _ in range(5):
        await models.CreateVersion(pb.CreateVersionRequest(name="iris", source="s3://a"))
    seen = []
    for _ in range(5):
        seen.append((await consumer.read()).event)
        settled = operations_pb.ConsumeEventsRequest(acknowledge=operations_pb.AcknowledgeEvent())
        await consumer.write(settled)
    await consumer.done_writing()

    assert {event.key for event in seen} == {"iris"}
    assert [f'"version":{n}' in event.value.decode() for n, event in enumerate(seen, 1)] == [True] * 5


async def test_clearing_a_description_and_giving_one_exclude_each_other(models: Any) -> None:
    await models.CreateModel(pb.CreateModelRequest(name="iris"))
    await models.CreateVersion(pb.CreateVersionRequest(name="iris", source="s3://a"))
    request = pb.UpdateVersionRequest(name="iris", version=1, clear_description=True)
    assert not (await models.UpdateVersion(request)).version.HasField("description")
    request.description = "x"
    assert "clear_description" in (await refusal(models.UpdateVersion(request))).message
