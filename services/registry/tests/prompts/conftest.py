"""The whole registry service in this process, and stubs to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import pytest
from runstream_common.rpc.server import GrpcServer
from runstream_common.service import Runtime
from runstream_proto.registry.v1 import prompt_service_pb2 as pb
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub
from runstream_proto.registry.v1.prompt_service_pb2_grpc import PromptServiceStub
from runstream_proto.registry.v1.webhook_service_pb2_grpc import WebhookServiceStub
from runstream_registry.settings import RegistrySettings
from runstream_registry.wiring import build, migrate


@dataclass(frozen=True, slots=True)
class Client:
    """Stubs over one channel."""

    prompts: PromptServiceStub
    models: ModelServiceStub
    promotions: PromotionServiceStub
    webhooks: WebhookServiceStub

    async def create(
        self, name: str = "greeting", text: str = "Hello {{name}}!", **fields
    ) -> pb.PromptVersion:
        fields.setdefault("template", pb.Template(text=text))
        request = pb.CreatePromptVersionRequest(name=name, **fields)
        return (
            await self.prompts.CreatePromptVersion(request, metadata=[("runstream-actor", "ada")])
        ).version


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    settings = RegistrySettings(
        database_url=database_url,
        bus_url=database_url,
        grpc_host="127.0.0.1",
        grpc_port=0,
        shutdown_grace_seconds=5,
        webhook_allow_http=True,
        webhook_allow_private_addresses=True,
    )
    await migrate(settings)
    runtime = Runtime("registry", settings)
    service = await build(runtime)
    async with AsyncExitStack() as running:
        for component in service.components:
            await component.start()
            running.push_async_callback(component.stop)
        running.push_async_callback(runtime.tasks.stop)
        server = next(item for item in service.components if isinstance(item, GrpcServer))
        channel = await running.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        yield Client(
            PromptServiceStub(channel),
            ModelServiceStub(channel),
            PromotionServiceStub(channel),
            WebhookServiceStub(channel),
        )
