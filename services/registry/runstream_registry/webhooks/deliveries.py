"""Deliveries: attempts at them, tests, and their log."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

import structlog
from runstream_common.violations import Violations

from runstream_registry.errors import DeliveryNotFound, WebhookDisabled, WebhookNotFound
from runstream_registry.notices import EXAMPLES, Notice
from runstream_registry.store import delivery_repository, webhook_repository
from runstream_registry.store.delivery_queue import body_json
from runstream_registry.webhook_entities import Attempt, ClaimedDelivery, DeliveryState
from runstream_registry.webhooks import webhook_rules
from runstream_registry.webhooks.delivery import Answer, WebhookSender
from runstream_registry.webhooks.signatures import signed_headers
from runstream_registry.webhooks.webhook_secrets import SecretBox, SecretUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.webhook_entities import Delivery, StoredSecrets, WebhookEvent
    from runstream_registry.webhooks.retrying import RetryRule

log = structlog.get_logger(__name__)

MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
"""A page of the log ends with the body that reaches this size."""


class Deliveries:
    """Use cases around deliveries.

    Args:
        sender: makes the calls.
        secrets: opens stored secrets.
        retry: when to try again.
    """

    def __init__(
        self, database: Database, clock: Clock, sender: WebhookSender, secrets: SecretBox, retry: RetryRule
    ) -> None:
        self._database = database
        self._clock = clock
        self._sender = sender
        self._secrets = secrets
        self._retry = retry

    async def attempt(self, claimed: ClaimedDelivery) -> Answer:
        """Make one attempt at a claimed delivery and store what came of it."""
        time_ms = self._clock.now_ms()
        answer = await self._call(claimed.url, claimed.secrets, claimed.delivery_id, claimed.body_json)
        state, wait_seconds = self._follows(claimed, answer)
        attempt = Attempt(time_ms, answer.status, answer.error, answer.duration_ms)
        async with self._database.driver() as connection:
            await delivery_repository.report(
                connection, claimed, attempt, state, next_attempt_seconds=wait_seconds
            )
        if not answer.success:
            log.info(
                "webhook_attempt_failed",
                webhook_id=claimed.webhook_id,
                delivery_id=claimed.delivery_id,
                attempt=claimed.attempt,
                status=answer.status,
                error=answer.error,
                given_up=state is DeliveryState.FAILED,
            )
        return answer

    async def test(self, webhook_id: str, event: WebhookEvent | None) -> Answer:
        """Send an example of an event at once; it is not in the log.

        Args:
            event: None: the webhook's first one.

        Raises:
            WebhookNotFound: there is none of that id.
            InvalidArgument: there is no such event.
        """
        if event is not None:
            violations = Violations()
            webhook_rules.check_event(event, "event", violations)
            violations.check()
        async with self._database.driver() as connection:
            webhook = await webhook_repository.select(connection, webhook_id)
            secrets = await webhook_repository.select_secrets(connection, webhook_id)
        if webhook is None or secrets is None:
            raise WebhookNotFound(webhook_id)
        told = event or webhook.events[0]
        example = EXAMPLES[told.entity][told.action]
        # Not every event is about a model.
        notice = Notice(told.entity, told.action, example.get("name", ""), example)
        body = body_json(notice, self._clock.now_ms())
        return await self._call(webhook.url, secrets, str(uuid.uuid4()), body)

    async def redeliver(self, delivery_id: str) -> None:
        """Make a delivery due again, with all its attempts to come.

        Raises:
            DeliveryNotFound: there is none of that id.
            WebhookDisabled: its webhook is not called at present.
        """
        async with self._database.driver() as connection:
            if await delivery_repository.redeliver(connection, delivery_id):
                return
            webhook_id = await delivery_repository.webhook_of(connection, delivery_id)
        raise DeliveryNotFound(delivery_id) if webhook_id is None else WebhookDisabled(webhook_id)

    async def page(
        self, webhook_id: str, state: DeliveryState | None, after: tuple[int, str] | None, limit: int
    ) -> tuple[Sequence[Delivery], bool]:
        """Deliveries of a webhook behind a position (creation time in ms, id), newest first; whether there is more.

        Raises:
            WebhookNotFound: there is none of that id.
        """
        async with self._database.driver() as connection:
            page, more = await delivery_repository.select_page(
                connection, webhook_id, state=state, after=after, limit=limit, max_bytes=MAX_PAGE_BYTES
            )
            if not page and await webhook_repository.select(connection, webhook_id) is None:
                raise WebhookNotFound(webhook_id)
        return page, more

    async def _call(self, url: str, stored: StoredSecrets, delivery_id: str, body: str) -> Answer:
        try:
            secrets = self._secrets.open(stored)
        except SecretUnreadable as error:
            # Not sent without a signature. The key may come back with the next start, so this is worth another attempt.
            return Answer(0, "", error.message, 0)
        headers = signed_headers(secrets, delivery_id, str(self._clock.now_ms() // 1000), body)
        return await self._sender.send(url, headers, body)

    def _follows(self, claimed: ClaimedDelivery, answer: Answer) -> tuple[DeliveryState, float]:
        if answer.success:
            return DeliveryState.DELIVERED, 0.0
        wait_seconds = self._retry.delay_seconds(answer, claimed.attempt_in_round)
        if wait_seconds is None:
            return DeliveryState.FAILED, 0.0
        return DeliveryState.PENDING, wait_seconds
