"""The services behind the gateway: one channel each, and the stubs that the doors call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.rpc.channel import open_channel
from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub
from runstream_proto.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from runstream_proto.metadata.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from runstream_proto.metadata.v1.logged_model_service_pb2_grpc import LoggedModelServiceStub
from runstream_proto.metadata.v1.metric_service_pb2_grpc import MetricServiceStub
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub
from runstream_proto.registry.v1.prompt_service_pb2_grpc import PromptServiceStub
from runstream_proto.registry.v1.webhook_service_pb2_grpc import WebhookServiceStub

if TYPE_CHECKING:
    import grpc

    from runstream_gateway.settings import GatewaySettings

_SAFE_TO_REPEAT = {
    "metadata": [
        "runstream.metadata.v1.ExperimentService/GetExperiment",
        "runstream.metadata.v1.ExperimentService/SearchExperiments",
        # Each run carries its id.
        "runstream.metadata.v1.RunService/BatchCreateRuns",
        "runstream.metadata.v1.RunService/CheckRuns",
        "runstream.metadata.v1.RunService/GetRun",
        "runstream.metadata.v1.RunService/GetRuns",
        "runstream.metadata.v1.RunService/SearchRuns",
        "runstream.metadata.v1.MetricService",
        "runstream.metadata.v1.LoggedModelService/GetLoggedModel",
        "runstream.metadata.v1.LoggedModelService/SearchLoggedModels",
    ],
    # A batch carries its id.
    "ingest": ["runstream.ingest.v1.IngestService"],
    "artifact": ["runstream.artifact.v1.ArtifactService"],
    "registry": [
        "runstream.registry.v1.ModelService/GetModel",
        "runstream.registry.v1.ModelService/SearchModels",
        "runstream.registry.v1.ModelService/GetVersion",
        "runstream.registry.v1.ModelService/SearchVersions",
        "runstream.registry.v1.ModelService/GetLatestVersions",
        "runstream.registry.v1.ModelService/ResolveVersion",
        "runstream.registry.v1.WebhookService/GetWebhook",
        "runstream.registry.v1.WebhookService/ListWebhooks",
    ],
}


class Backends:
    """Channels and stubs as a part of the process; connects when first used."""

    name = "backends"

    def __init__(self, settings: GatewaySettings) -> None:
        self.timeout_seconds = settings.backend_timeout_seconds
        self.read_wait_ms = settings.read_wait_ms
        targets = {
            "metadata": settings.metadata_target,
            "ingest": settings.ingest_target,
            "artifact": settings.artifact_target,
            "registry": settings.registry_target,
        }
        self.channels: dict[str, grpc.aio.Channel] = {
            name: open_channel(target, settings, idempotent=_SAFE_TO_REPEAT[name])
            for name, target in targets.items()
        }
        metadata, registry = self.channels["metadata"], self.channels["registry"]
        self.experiments = ExperimentServiceStub(metadata)
        self.runs = RunServiceStub(metadata)
        self.metrics = MetricServiceStub(metadata)
        self.logged_models = LoggedModelServiceStub(metadata)
        self.ingest = IngestServiceStub(self.channels["ingest"])
        self.artifacts = ArtifactServiceStub(self.channels["artifact"])
        self.models = ModelServiceStub(registry)
        self.promotions = PromotionServiceStub(registry)
        self.prompts = PromptServiceStub(registry)
        self.webhooks = WebhookServiceStub(registry)
        self.operations = {name: OperationsServiceStub(channel) for name, channel in self.channels.items()}
        """OperationsService of each service, by the service's name."""

    async def start(self) -> None:
        """Nothing to wait for: services may come up later."""

    async def stop(self) -> None:
        """Close the connections."""
        for channel in self.channels.values():
            await channel.close(grace=None)
