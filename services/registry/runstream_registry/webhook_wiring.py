"""Puts the parts of the service together that webhooks need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runstream_common.bus.postgres_listener import PostgresListener

from runstream_registry.api.webhook_service import WebhookService
from runstream_registry.jobs.deliver_webhooks import DeliveryWorker, WorkerLimits
from runstream_registry.jobs.expire_deliveries import DeliveryExpiry, run_expire_deliveries
from runstream_registry.store.delivery_queue import CHANNEL
from runstream_registry.webhooks.deliveries import Deliveries
from runstream_registry.webhooks.delivery import WebhookSender
from runstream_registry.webhooks.retrying import RetryRule
from runstream_registry.webhooks.webhook_secrets import SecretBox
from runstream_registry.webhooks.webhooks import Webhooks

if TYPE_CHECKING:
    from runstream_common.clock import Clock
    from runstream_common.database import Database
    from runstream_common.rpc.server import Registration
    from runstream_common.supervision import Supervisor

    from runstream_registry.settings import RegistrySettings


class WebhookParts:
    """The parts around webhooks.

    Raises:
        FailedPrecondition: a setting is wrong.
    """

    def __init__(self, settings: RegistrySettings, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        secrets = SecretBox(settings.webhook_secret_keys)
        retry = RetryRule(
            max_attempts=settings.webhook_max_attempts,
            first_delay_seconds=settings.webhook_first_retry_seconds,
            max_delay_seconds=settings.webhook_max_retry_seconds,
        )
        self.sender = WebhookSender(settings)
        """A component: started and stopped with the service."""
        self.webhooks = Webhooks(database, clock, self.sender.resolver, secrets, settings)
        self.deliveries = Deliveries(database, clock, self.sender, secrets, retry)

    def registration(self) -> Registration:
        """What the server registers."""
        return WebhookService(self.webhooks, self.deliveries).registration()

    def spawn(self, tasks: Supervisor) -> None:
        """Begin to deliver, and to forget."""
        settings = self._settings
        woken = asyncio.Event()
        listener = PostgresListener(
            settings.require_database_url(),
            lambda _payload: woken.set(),
            channel=CHANNEL,
            application_name="runstream-registry-webhooks",
        )
        limits = WorkerLimits.from_settings(settings)
        worker = DeliveryWorker(self._database, self.deliveries, woken, limits)
        expiry = DeliveryExpiry(self._database, settings.webhook_log_keep_days)
        tasks.spawn("webhook listener", listener.run())
        tasks.spawn("webhook deliveries", worker.run())
        tasks.spawn("webhook expiry", run_expire_deliveries(expiry, settings.webhook_expiry_interval_seconds))
