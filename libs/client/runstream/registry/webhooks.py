"""`client.webhooks`: signed HTTP calls for those who do not read the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream.query.client_sending import Namespace
from runstream.registry import flows_webhooks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runstream.registry.results_webhooks import Delivery, Webhook, WebhookTest


class Webhooks(Namespace):
    """Webhooks and their deliveries. Events are "ENTITY.ACTION", e.g. "MODEL_VERSION.CREATED" (docs/webhooks.md)."""

    def create(
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
        """Register a webhook.

        Args:
            name: need not be unique.
            url: https, or http where the deployment allows it; must not lead to a private address.
            events: at least one.
            description: free text.
            secret: at most 1,000 characters; empty means that calls are not signed.
            status: "ACTIVE" (default) or "DISABLED".
            models: glob over model names; empty means all.
        """
        return self._run(
            flows_webhooks.create(
                name, url, events, description=description, secret=secret, status=status, models=models
            )
        )

    def get(self, webhook_id: str) -> Webhook:
        """Read one webhook, never its secret; raises NotFound."""
        return self._run(flows_webhooks.get(webhook_id))

    def list(self, *, page_size: int = 0) -> Iterator[Webhook]:
        """Iterate over webhooks, newest first."""
        return self._pages(flows_webhooks.list_request(page_size), flows_webhooks.webhook_page)

    def update(
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
        return self._run(
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

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook; what waits is not delivered."""
        self._run(flows_webhooks.delete(webhook_id))

    def test(self, webhook_id: str, *, event: str = "") -> WebhookTest:
        """Send a test event at once and tell the answer; the webhook's first event unless given."""
        return self._run(flows_webhooks.test(webhook_id, event))

    def rotate_secret(self, webhook_id: str, *, secret: str = "", overlap_hours: int = 0) -> str:
        """Give a webhook a new secret and return it, the only time that it is told.

        Args:
            webhook_id: webhook.
            secret: the new one; empty lets the server make one.
            overlap_hours: how long the old one signs too, 0 to 168.
        """
        return self._run(flows_webhooks.rotate_secret(webhook_id, secret, overlap_hours))

    def deliveries(self, webhook_id: str, *, state: str = "", page_size: int = 0) -> Iterator[Delivery]:
        """Iterate over the log of deliveries, newest first; only "PENDING", "DELIVERED" or "FAILED" ones if given."""
        request = flows_webhooks.deliveries_request(webhook_id, state, page_size)
        return self._pages(request, flows_webhooks.delivery_page)

    def redeliver(self, delivery_id: str) -> None:
        """Send a delivery that was given up, or made already, once more."""
        self._run(flows_webhooks.redeliver(delivery_id))
