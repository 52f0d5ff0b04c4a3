"""From a run's files to a version that owns them: metadata, artifact and registry service as processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from runstream_common.rpc.status import from_rpc_error
from runstream_contract.ids import new_run_id
from runstream_proto.artifact.v1 import artifact_service_pb2 as artifact_pb
from runstream_proto.artifact.v1 import types_pb2 as artifact_types
from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from runstream_proto.metadata.v1 import run_service_pb2 as runs_pb
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub
from runstream_proto.metadata.v1.types_pb2 import KeyValue
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub

from tests.support.postgres import PostgresServer, fresh_database
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MLMODEL = b"""
flavors: {sklearn: {pickled_model: model.pkl}}
signature: {inputs: '[{"type": "double"}]'}
"""


@pytest.fixture
def stack(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[ServiceStack]:
    with fresh_database(postgres_server) as url:
        running = ServiceStack(
            tmp_path, database_url=url, bus_url=url, names=("metadata", "artifact", "registry")
        )
        try:
            running.start()
            yield running
        finally:
            running.stop()


def owner(kind: str, owner_id: str) -> artifact_types.Owner:
    return artifact_types.Owner(kind=artifact_types.OwnerKind.Value(f"OWNER_KIND_{kind}"), id=owner_id)


def send(request: artifact_types.SignedRequest, content: bytes | None = None) -> bytes:
    sent = urllib.request.Request(
        request.url, data=content, headers=dict(request.headers), method=request.method
    )
    with urllib.request.urlopen(sent, timeout=30) as answer:
        received: bytes = answer.read()
        return received


def completed(request: artifact_types.SignedRequest) -> artifact_types.SignedRequest:
    """A URL without a host means this one."""
    request.url = request.url.replace("http://:", "http://127.0.0.1:", 1)
    return request


async def log_file(artifacts: Any, run_id: str, path: str, content: bytes) -> None:
    """Store a file of a run, as a client does."""
    digest = hashlib.sha256(content).hexdigest()
    file = artifact_pb.NewFile(path=path, size_bytes=len(content), digest=digest)
    answer = await artifacts.CreateUploads(
        artifact_pb.CreateUploadsRequest(owner=owner("RUN", run_id), files=[file])
    )
    outcome = answer.outcomes[0]
    if outcome.HasField("upload"):
        await asyncio.to_thread(send, completed(outcome.upload.request), content)
        request = artifact_pb.CompleteUploadsRequest(upload_ids=[outcome.upload.upload_id])
        assert (await artifacts.CompleteUploads(request)).results[0].HasField("artifact")


async def test_a_version_keeps_its_files_whatever_becomes_of_the_run(stack: ServiceStack) -> None:
    async with (
        stack.channel() as metadata,
        stack.channel(stack.artifact) as artifact,
        stack.channel(stack.registry) as registry,
    ):
        runs, artifacts, models = (
            RunServiceStub(metadata),
            ArtifactServiceStub(artifact),
            ModelServiceStub(registry),
        )
        tags = [KeyValue(key="mlflow.source.git.commit", value="abc123")]
        run = (await runs.CreateRun(runs_pb.CreateRunRequest(experiment_id="0", tags=tags))).run
        await log_file(artifacts, run.run_id, "model/MLmodel", MLMODEL)
        await log_file(artifacts, run.run_id, "model/model.pkl", b"weights")
        await models.CreateModel(pb.CreateModelRequest(name="iris"))
        request = pb.CreateVersionRequest(
            name="iris", source=f"runs:/{run.run_id}/model", version_id=new_run_id()
        )
        version = (await models.CreateVersion(request)).version
        again = await models.CreateVersion(request)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await models.CreateVersion(
                pb.CreateVersionRequest(name="iris", source=f"runs:/{run.run_id}/elsewhere")
            )
        await artifacts.DeleteArtifacts(artifact_pb.DeleteArtifactsRequest(owner=owner("RUN", run.run_id)))
        own = owner("MODEL_VERSION", version.version_id)
        tree = (await artifacts.GetTree(artifact_pb.GetTreeRequest(owner=own))).tree
        download = await artifacts.CreateDownloads(
            artifact_pb.CreateDownloadsRequest(owner=own, paths=["model.pkl"])
        )
        content = await asyncio.to_thread(send, completed(download.downloads[0].request))
        copy = (
            await models.CreateVersion(
                pb.CreateVersionRequest(name="served", source="models:/iris/1", create_model=True)
            )
        ).version
        lineage = await models.GetLineage(pb.GetLineageRequest(name="served", version=1))

    assert (again.created, again.version) == (False, version)
    assert from_rpc_error(refused.value).reason == "SOURCE_HAS_NO_FILES"
    assert (version.run_id, version.artifacts.digest, version.artifacts.file_count) == (
        run.run_id,
        tree.digest,
        2,
    )
    assert tree.sealed
    assert content == b"weights"
    assert json.loads(version.flavors_json) == {"sklearn": {"pickled_model": "model.pkl"}}
    assert json.loads(version.signature_json) == {"inputs": '[{"type": "double"}]'}
    assert copy.artifacts.digest == version.artifacts.digest
    assert [(item.name, item.version) for item in lineage.ancestors] == [("iris", 1)]
    assert (lineage.run.git_commit, lineage.run.lifecycle_stage) == ("abc123", "active")
