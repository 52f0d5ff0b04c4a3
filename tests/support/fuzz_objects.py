"""Real files, models, prompts, policies, requests and webhooks for fuzzed requests to hit."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
from runstream_proto.artifact.v1 import artifact_service_pb2 as artifact_pb
from runstream_proto.artifact.v1 import types_pb2 as artifact_types
from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from runstream_proto.metadata.v1 import experiment_service_pb2, run_service_pb2
from runstream_proto.metadata.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub
from runstream_proto.registry.v1 import model_service_pb2 as models_pb
from runstream_proto.registry.v1 import promotion_service_pb2 as promotion_pb
from runstream_proto.registry.v1 import prompt_service_pb2 as prompts_pb
from runstream_proto.registry.v1 import webhook_service_pb2 as webhooks_pb
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub
from runstream_proto.registry.v1.prompt_service_pb2_grpc import PromptServiceStub
from runstream_proto.registry.v1.types_pb2 import VERSION_STATUS_READY, Tag
from runstream_proto.registry.v1.webhook_service_pb2_grpc import WebhookServiceStub

from deploy.local.process import free_port
from tests.support.load import create_run
from tests.support.object_store import absolute
from tests.support.rpc_fuzz import KNOWN_RUN

if TYPE_CHECKING:
    from tests.support.service_stack import ServiceStack

MODEL, PROMPT, GATE = "churn", "greeting", "gate"
GUARDED = promotion_pb.Target(alias="guarded")
CHAMPION = promotion_pb.Target(alias="champion")
RUN_OWNER = artifact_types.Owner(kind=artifact_types.OWNER_KIND_RUN, id=KNOWN_RUN)
FILES = {"model/MLmodel": b"flavors: {}", "notes.txt": b"hello"}
PENDING = {"pending.bin": b"never sent", "large.bin": b"also never sent" * 200}
"""The second is large enough for the threshold of the tests: it goes in parts."""
SECONDS = 30.0


class FuzzObjects:
    """Makes them, and again what a fuzzed request has changed or deleted.

    Attributes:
        known: values by field name, as `rpc_fuzz.requests` takes them.
    """

    def __init__(self, stack: ServiceStack) -> None:
        self._metadata = stack.channel(stack.metadata)
        self._artifact_channel = stack.channel(stack.artifact)
        self._registry = stack.channel(stack.registry)
        self._artifacts: Any = ArtifactServiceStub(self._artifact_channel)
        self._models: Any = ModelServiceStub(self._registry)
        self._promotions: Any = PromotionServiceStub(self._registry)
        self._prompts: Any = PromptServiceStub(self._registry)
        self._webhooks: Any = WebhookServiceStub(self._registry)
        self._receiver = f"http://127.0.0.1:{free_port()}/"
        self.known: dict[str, list[Any]] = {}

    async def close(self) -> None:
        for channel in (self._metadata, self._artifact_channel, self._registry):
            await channel.close()

    async def renew(self) -> None:
        """Have everything there as it should be."""
        await self._renew_run()
        upload_ids = await self._renew_files()
        await self._renew_model()
        request_ids = await self._renew_promotions()
        await self._renew_prompt()
        webhook_id, delivery_ids = await self._renew_webhook()
        self.known = self._known(upload_ids, request_ids, webhook_id, delivery_ids)

    async def _renew_run(self) -> None:
        request = experiment_service_pb2.RestoreExperimentRequest(experiment_id="0")
        with contextlib.suppress(grpc.aio.AioRpcError):  # NOT_FOUND when it is active
            await ExperimentServiceStub(self._metadata).RestoreExperiment(request, timeout=SECONDS)
        await create_run(self._metadata, KNOWN_RUN)
        await RunServiceStub(self._metadata).RestoreRun(
            run_service_pb2.RestoreRunRequest(run_id=KNOWN_RUN), timeout=SECONDS
        )

    async def _renew_files(self) -> list[str]:
        """Files that are stored and uploads that wait; returns the ids of the latter."""
        listed = await self._artifacts.ListArtifacts(
            artifact_pb.ListArtifactsRequest(owner=RUN_OWNER, recursive=True, page_size=10_000)
        )
        if {item.path for item in listed.artifacts} != set(FILES):
            if listed.artifacts:
                await self._artifacts.DeleteArtifacts(artifact_pb.DeleteArtifactsRequest(owner=RUN_OWNER))
            await self._store(FILES)
        answer = await self._announce(PENDING)
        return [outcome.upload.upload_id for outcome in answer.outcomes]

    async def _announce(self, files: dict[str, bytes]) -> artifact_pb.CreateUploadsResponse:
        new = [
            artifact_pb.NewFile(
                path=path, size_bytes=len(content), digest=hashlib.sha256(content).hexdigest()
            )
            for path, content in files.items()
        ]
        answer: artifact_pb.CreateUploadsResponse = await self._artifacts.CreateUploads(
            artifact_pb.CreateUploadsRequest(owner=RUN_OWNER, files=new), timeout=SECONDS
        )
        return answer

    async def _store(self, files: dict[str, bytes]) -> None:
        answer = await self._announce(files)
        sent = [outcome.upload for outcome in answer.outcomes if outcome.HasField("upload")]
        for upload in sent:
            await asyncio.to_thread(_send, upload.request, files[upload.path])
        if sent:
            await self._artifacts.CompleteUploads(
                artifact_pb.CompleteUploadsRequest(upload_ids=[upload.upload_id for upload in sent])
            )

    async def _renew_model(self) -> None:
        listed = await self._models.SearchVersions(
            models_pb.SearchVersionsRequest(filter=f"name = '{MODEL}'", page_size=10)
        )
        if {1, 2} <= {v.version for v in listed.versions if v.status == VERSION_STATUS_READY}:
            return
        # Numbers are not used again, so the model starts anew.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._models.DeleteModel(models_pb.DeleteModelRequest(name=MODEL))
        for source in (f"runs:/{KNOWN_RUN}/model", "s3://elsewhere/model"):
            await self._models.CreateVersion(
                models_pb.CreateVersionRequest(name=MODEL, source=source, create_model=True), timeout=SECONDS
            )

    async def _renew_promotions(self) -> list[str]:
        """One policy, a promoted version and a request that waits; returns the ids of the open requests."""
        policies = await self._promotions.ListPolicies(promotion_pb.ListPoliciesRequest())
        for policy in policies.policies:
            if policy.name != GATE or policy.document.targets != "alias/guarded":
                await self._promotions.DeletePolicy(promotion_pb.DeletePolicyRequest(name=policy.name))
        document = promotion_pb.PolicyDocument(
            models=MODEL,
            targets="alias/guarded",
            rules=[promotion_pb.Rule(approvals=promotion_pb.ApprovalRule(count=2, allow_requester=True))],
            roles=[promotion_pb.Role(name="owner", members=["unknown", "ada"])],
        )
        if not any(policy.document == document for policy in policies.policies):
            await self._promotions.PutPolicy(promotion_pb.PutPolicyRequest(name=GATE, document=document))
        for version in (1, 2):
            request = promotion_pb.PromoteRequest(name=MODEL, version=version, target=CHAMPION)
            await self._promotions.Promote(request, timeout=SECONDS)
        return await self._renew_request()

    async def _renew_request(self) -> list[str]:
        wanted = promotion_pb.ListRequestsRequest(name=MODEL, state=promotion_pb.REQUEST_STATE_PENDING)
        if not (await self._promotions.ListRequests(wanted)).requests:
            await self._promotions.RequestPromotion(
                promotion_pb.RequestPromotionRequest(name=MODEL, version=1, target=GUARDED)
            )
        found = (await self._promotions.ListRequests(wanted)).requests
        return [request.request_id for request in found[:2]]

    async def _renew_prompt(self) -> None:
        listed = await self._models.SearchVersions(
            models_pb.SearchVersionsRequest(
                filter=f"name = '{PROMPT}' AND tags.`mlflow.prompt.is_prompt` = 'true'", page_size=10
            )
        )
        if {1, 2} <= {version.version for version in listed.versions}:
            return
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._models.DeleteModel(models_pb.DeleteModelRequest(name=PROMPT))
        for text in ("Hello {{x}}", "Good day {{ x }}"):
            await self._prompts.CreatePromptVersion(
                prompts_pb.CreatePromptVersionRequest(name=PROMPT, template=prompts_pb.Template(text=text))
            )

    async def _renew_webhook(self) -> tuple[str, list[str]]:
        """A webhook whose receiver is not there; returns its id and those of deliveries."""
        listed = await self._webhooks.ListWebhooks(webhooks_pb.ListWebhooksRequest())
        if len(listed.webhooks) > 1:
            for webhook in listed.webhooks:
                request = webhooks_pb.DeleteWebhookRequest(webhook_id=webhook.webhook_id)
                await self._webhooks.DeleteWebhook(request)
        if len(listed.webhooks) == 1:
            webhook_id = listed.webhooks[0].webhook_id
        else:
            created = await self._webhooks.CreateWebhook(
                webhooks_pb.CreateWebhookRequest(
                    name="nobody",
                    url=self._receiver,
                    events=[webhooks_pb.WebhookEvent(entity="MODEL_VERSION_TAG", action="SET")],
                    secret="a secret of some length",
                )
            )
            webhook_id = created.webhook.webhook_id
            tag = Tag(key="for", value=webhook_id)
            await self._models.ChangeTags(models_pb.ChangeTagsRequest(name=MODEL, version=1, set=[tag]))
        deliveries = await self._webhooks.ListDeliveries(
            webhooks_pb.ListDeliveriesRequest(webhook_id=webhook_id, page_size=2)
        )
        return webhook_id, [delivery.delivery_id for delivery in deliveries.deliveries]

    def _known(
        self, upload_ids: list[str], request_ids: list[str], webhook_id: str, delivery_ids: list[str]
    ) -> dict[str, list[Any]]:
        paths = [*FILES, "model"]
        return {
            # Files.
            "kind": [1, "run"],
            "id": [KNOWN_RUN],
            "path": paths,
            "NewFile.path": ["notes.txt", "new.txt", "model/new.txt"],
            "NewFile.digest": [hashlib.sha256(b"new").hexdigest()],
            "NewFile.size_bytes": [3],
            "paths": paths,
            "source_path": paths,
            "target_path": ["model2", "copies/here"],
            "upload_id": upload_ids,
            "upload_ids": upload_ids,
            "SignPartsRequest.upload_id": upload_ids[1:],
            "part_number": [1],
            "checksum": ["AAAAAA=="],
            # Models, prompts and their versions.
            "name": [MODEL],
            **{f"{message}.name": [PROMPT] for message in prompts_pb.DESCRIPTOR.message_types_by_name},
            **{f"{action}PolicyRequest.name": [GATE, "freeze"] for action in ("Put", "Get", "Delete")},
            "Role.name": ["owner"],
            "new_name": ["churn2", PROMPT],
            "version": [1, 2],
            "from_version": [1],
            "to_version": [2],
            "alias": ["champion", "guarded", "latest"],
            "stage": [1, 2, "Production"],
            "source": [f"runs:/{KNOWN_RUN}/model", "s3://elsewhere/x", f"models:/{MODEL}/1"],
            "run_id": [KNOWN_RUN],
            "key": ["x", "mlflow.source.name"],
            "filter": [f"name = '{MODEL}'", "tags.x = '1'", "version_number > 1"],
            "order_by": ["name DESC", "last_updated_timestamp"],
            "evaluation": ["suite"],
            "text": ["Hello {{x}}", "{{y}} and {{x}}"],
            "role": ["user", "owner"],
            # Promotions.
            "request_id": request_ids,
            "expected_current": [2, 1, 0],
            "models": ["*", MODEL],
            "model": [MODEL],
            "targets": ["alias/guarded", "*"],
            "condition": ["loss < 1", "accuracy >= current + 0.01"],
            "members": ["ada", "unknown"],
            "roles": ["owner"],
            "weekly_start": ["Fri 16:00"],
            "weekly_end": ["Mon 08:00"],
            "time_zone": ["Europe/Berlin"],
            "chain": ["policies", "webhooks", "model/1"],
            "count": [1, 2],
            "start": ["2026-12-20T00:00:00Z"],
            "end": ["2026-12-24T00:00:00Z"],
            # Webhooks.
            "webhook_id": [webhook_id],
            "delivery_id": delivery_ids,
            "url": [self._receiver, "https://10.0.0.1/x"],
            "entity": ["MODEL_VERSION_TAG", "PROMOTION"],
            "action": ["SET", "CREATED"],
            "secret": ["another secret of some length"],
            "overlap_hours": [0, 1],
            # Events.
            "topic": ["model-promoted", "artifact-stored"],
            "group": ["deployer"],
        }


def _send(request: artifact_types.SignedRequest, content: bytes) -> None:
    sent = urllib.request.Request(
        absolute(request.url), data=content, headers=dict(request.headers), method=request.method
    )
    with urllib.request.urlopen(sent, timeout=SECONDS):
        pass
