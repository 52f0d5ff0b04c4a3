"""`client.webhooks`, awaited: the methods of `webhooks`, described there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream.query.async_sending import AsyncNamespace
from runstream.registry import flows_webhooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream.registry.results_webhooks import Delivery, Webhook, WebhookTest


class AsyncWebhooks(AsyncNamespace):
    """See `Webhooks`."""

    async def create(
        self,
        name: str,
        url: str,
        events: Sequence[str],
        *,
        description: str = "",
        secret: str = "",
        status: str = "",
        models: str = "",
    ) -> Webhook:
        """Register a webhook."""
        return await self._run(
            flows_webhooks.create(
                name, url, events, description=description, secret=secret, status=status, models=models
            )
        )

    async def get(self, webhook_id: str) -> Webhook:
        """Read one webhook, never its secret; raises NotFound."""
        return await self._run(flows_webhooks.get(webhook_id))

    def list(self, *, page_size: int = 0) -> AsyncIterator[Webhook]:
        """Iterate over webhooks, newest first."""
        return self._pages(flows_webhooks.list_request(page_size), flows_webhooks.webhook_page)

    async def update(
        self,
        webhook_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        events: Sequence[str] = (),
        description: str | None = None,
        status: str = "",
        models: str | None = None,
        secret: str | None = None,
    ) -> Webhook:
        """Change what is given; a new secret counts at once and without overlap."""
        return await self._run(
            flows_webhooks.update(
                webhook_id,
                name=name,
                url=url,
                events=events,
                description=description,
                status=status,
                models=models,
                secret=secret,
            )
        )

    async def delete(self, webhook_id: str) -> None:
        """Delete a webhook; what waits is not delivered."""
        await self._run(flows_webhooks.delete(webhook_id))

    async def test(self, webhook_id: str, *, event: str = "") -> WebhookTest:
        """Send a test event at once and tell the answer; the webhook's first event unless given."""
        return await self._run(flows_webhooks.test(webhook_id, event))

    async def rotate_secret(self, webhook_id: str, *, secret: str = "", overlap_hours: int = 0) -> str:
        """Give a webhook a new secret and return it, the only time that it is told."""
        return await self._run(flows_webhooks.rotate_secret(webhook_id, secret, overlap_hours))

    def deliveries(self, webhook_id: str, *, state: str = "", page_size: int = 0) -> AsyncIterator[Delivery]:
        """Iterate over the log of deliveries, newest first; only "PENDING", "DELIVERED" or "FAILED" ones if given."""
        request = flows_webhooks.deliveries_request(webhook_id, state, page_size)
        return self._pages(request, flows_webhooks.delivery_page)

    async def redeliver(self, delivery_id: str) -> None:
        """Send a delivery that was given up, or made already, once more."""
        await self._run(flows_webhooks.redeliver(delivery_id))
