"""gRPC handlers of WebhookService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runstream_common.rpc.server import Registration
from runstream_common.search.pages import checked_page_size
from runstream_proto.registry.v1 import webhook_service_pb2 as pb
from runstream_proto.registry.v1 import webhook_service_pb2_grpc as pb_grpc

from runstream_registry import rules
from runstream_registry.api import webhook_mapping as mapping
from runstream_registry.api.actor import actor_of
from runstream_registry.api.time_pages import decode_time_token, encode_time_token

if TYPE_CHECKING:
    import grpc

    from runstream_registry.webhooks.deliveries import Deliveries
    from runstream_registry.webhooks.webhooks import Webhooks

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1_000


class WebhookService(pb_grpc.WebhookServiceServicer):
    """Webhooks over gRPC."""

    def __init__(self, webhooks: Webhooks, deliveries: Deliveries) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["WebhookService"].full_name,
            pb_grpc.add_WebhookServiceServicer_to_server,
            self,
        )

    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, context: Context
    ) -> pb.CreateWebhookResponse:
        """Register."""
        webhook = await self._webhooks.create(mapping.created_draft(request), actor=actor_of(context))
        return pb.CreateWebhookResponse(webhook=mapping.webhook_message(webhook))

    async def GetWebhook(self, request: pb.GetWebhookRequest, context: Context) -> pb.GetWebhookResponse:
        """Read one."""
        webhook = await self._webhooks.get(rules.uuid_text(request.webhook_id, "webhook_id"))
        return pb.GetWebhookResponse(webhook=mapping.webhook_message(webhook))

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, context: Context
    ) -> pb.ListWebhooksResponse:
        """One page of them."""
        size = _page_size(request.page_size)
        after = decode_time_token(request.page_token, "webhooks")
        found = await self._webhooks.page(after, size + 1)
        page = found[:size]
        token = ""
        if len(found) > size:
            token = encode_time_token((page[-1].creation_time_ms, page[-1].webhook_id), "webhooks")
        return pb.ListWebhooksResponse(
            webhooks=[mapping.webhook_message(webhook) for webhook in page], next_page_token=token
        )

    async def UpdateWebhook(
        self, request: pb.UpdateWebhookRequest, context: Context
    ) -> pb.UpdateWebhookResponse:
        """Change what is given."""
        webhook_id = rules.uuid_text(request.webhook_id, "webhook_id")
        draft = mapping.updated_draft(request)
        webhook = await self._webhooks.update(webhook_id, draft, actor=actor_of(context))
        return pb.UpdateWebhookResponse(webhook=mapping.webhook_message(webhook))

    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, context: Context
    ) -> pb.DeleteWebhookResponse:
        """Delete with its log."""
        webhook_id = rules.uuid_text(request.webhook_id, "webhook_id")
        await self._webhooks.delete(webhook_id, actor=actor_of(context))
        return pb.DeleteWebhookResponse()

    async def TestWebhook(self, request: pb.TestWebhookRequest, context: Context) -> pb.TestWebhookResponse:
        """Send an example now."""
        webhook_id = rules.uuid_text(request.webhook_id, "webhook_id")
        event = mapping.events([request.event])[0] if request.HasField("event") else None
        return mapping.test_message(await self._deliveries.test(webhook_id, event))

    async def RotateSecret(
        self, request: pb.RotateSecretRequest, context: Context
    ) -> pb.RotateSecretResponse:
        """Give a new secret."""
        webhook_id = rules.uuid_text(request.webhook_id, "webhook_id")
        secret = await self._webhooks.rotate_secret(
            webhook_id, request.secret, request.overlap_hours, actor=actor_of(context)
        )
        return pb.RotateSecretResponse(secret=secret)

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: Context
    ) -> pb.ListDeliveriesResponse:
        """One page of the log."""
        webhook_id = rules.uuid_text(request.webhook_id, "webhook_id")
        state = mapping.delivery_state(request.state)
        after = decode_time_token(request.page_token, "deliveries", webhook_id, int(state or 0))
        page, more = await self._deliveries.page(webhook_id, state, after, _page_size(request.page_size))
        token = ""
        if more:
            last = (page[-1].creation_time_ms, page[-1].delivery_id)
            token = encode_time_token(last, "deliveries", webhook_id, int(state or 0))
        return pb.ListDeliveriesResponse(
            deliveries=[mapping.delivery_message(delivery) for delivery in page], next_page_token=token
        )

    async def RedeliverWebhook(
        self, request: pb.RedeliverWebhookRequest, context: Context
    ) -> pb.RedeliverWebhookResponse:
        """Make due again."""
        await self._deliveries.redeliver(rules.uuid_text(request.delivery_id, "delivery_id"))
        return pb.RedeliverWebhookResponse()


def _page_size(page_size: int) -> int:
    return checked_page_size(page_size, default=DEFAULT_PAGE_SIZE, at_most=MAX_PAGE_SIZE)
