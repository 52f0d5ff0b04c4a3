"""Webhooks: what may be done with them. Every change is in the audit trail, never with a secret."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runstream_common.violations import Violations
from yarl import URL

from runstream_registry.changes import WEBHOOKS_CHAIN, Change, record_change
from runstream_registry.errors import TooManyWebhooks, WebhookNotFound
from runstream_registry.notices import event_name
from runstream_registry.rules import text
from runstream_registry.store import audit_repository, webhook_repository
from runstream_registry.webhook_entities import Webhook, WebhookEvent, WebhookStatus
from runstream_registry.webhooks import webhook_rules as rules
from runstream_registry.webhooks.delivery import check_host
from runstream_registry.webhooks.webhook_rules import like_pattern
from runstream_registry.webhooks.webhook_secrets import SecretBox, new_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_registry.settings import RegistrySettings
    from runstream_registry.webhooks.addresses import PublicResolver

MAX_WEBHOOKS: Final = 500
"""Workers look at each of them for what is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDraft:
    """What a user says of a webhook; in an update None, no events and no status mean unchanged."""

    name: str | None = None
    url: str | None = None
    events: Sequence[WebhookEvent] = ()
    description: str | None = None
    status: WebhookStatus | None = None
    models: str | None = None
    secret: str | None = None


class Webhooks:
    """Use cases around webhooks.

    Args:
        resolver: asked whether a new URL leads to a place that may be called.
        secrets: how secrets are stored.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        resolver: PublicResolver,
        secrets: SecretBox,
        settings: RegistrySettings,
    ) -> None:
        self._database = database
        self._clock = clock
        self._resolver = resolver
        self._secrets = secrets
        self._settings = settings

    async def create(self, draft: WebhookDraft, *, actor: str) -> Webhook:
        """Register a webhook.

        Raises:
            InvalidArgument: something about it is wrong, or its URL leads to a private address.
            TooManyWebhooks: there is no place for another one.
        """
        await self._check(draft, new=True)
        now_ms = self._clock.now_ms()
        webhook = Webhook(
            webhook_id=str(uuid.uuid4()),
            name=draft.name or "",
            url=draft.url or "",
            events=list(dict.fromkeys(draft.events)),
            description=draft.description or "",
            status=draft.status or WebhookStatus.ACTIVE,
            models=draft.models or "",
            has_secret=bool(draft.secret),
            creation_time_ms=now_ms,
            last_updated_time_ms=now_ms,
        )
        async with self._database.driver() as connection, connection.transaction():
            # The chain's lock is taken first, so that two cannot both find the last place free.
            await audit_repository.lock_head(connection, WEBHOOKS_CHAIN)
            if await webhook_repository.count(connection) >= MAX_WEBHOOKS:
                raise TooManyWebhooks(MAX_WEBHOOKS)
            await webhook_repository.insert(
                connection,
                webhook,
                model_pattern=like_pattern(webhook.models),
                secret=self._secrets.close(draft.secret or ""),
            )
            await self._record(connection, "webhook.created", actor, None, _audited(webhook))
        return webhook

    async def get(self, webhook_id: str) -> Webhook:
        """One webhook.

        Raises:
            WebhookNotFound: there is none of that id.
        """
        async with self._database.driver() as connection:
            return _found(webhook_id, await webhook_repository.select(connection, webhook_id))

    async def page(self, after: tuple[int, str] | None, limit: int) -> list[Webhook]:
        """Webhooks behind a position (creation time in ms, id), newest first."""
        async with self._database.driver() as connection:
            return await webhook_repository.select_page(connection, after, limit)

    async def update(self, webhook_id: str, draft: WebhookDraft, *, actor: str) -> Webhook:
        """Change what the draft says; what waits to be delivered goes to the new URL.

        Raises:
            WebhookNotFound: there is none of that id.
            InvalidArgument: something about it is wrong, or its URL leads to a private address.
        """
        await self._check(draft, new=False)
        async with self._database.driver() as connection, connection.transaction():
            before = _found(webhook_id, await webhook_repository.select(connection, webhook_id, lock=True))
            after = _changed(before, draft)
            if after == before and draft.secret is None:
                return before
            after = dataclasses.replace(after, last_updated_time_ms=self._clock.now_ms())
            await webhook_repository.update(connection, after, model_pattern=like_pattern(after.models))
            if draft.secret is not None:
                await self._replace_secret(connection, after, draft.secret, overlap_hours=0)
            renewed = {} if draft.secret is None else {"secret_changed": True}
            await self._record(
                connection, "webhook.updated", actor, _audited(before), {**_audited(after), **renewed}
            )
        return after

    async def delete(self, webhook_id: str, *, actor: str) -> None:
        """Delete a webhook with its log; what waits is not delivered.

        Raises:
            WebhookNotFound: there is none of that id.
        """
        async with self._database.driver() as connection, connection.transaction():
            before = _found(webhook_id, await webhook_repository.select(connection, webhook_id, lock=True))
            await webhook_repository.delete(connection, webhook_id)
            await self._record(connection, "webhook.deleted", actor, _audited(before), None)

    async def rotate_secret(self, webhook_id: str, secret: str, overlap_hours: int, *, actor: str) -> str:
        """Give a webhook a new secret, which is returned this once.

        Args:
            secret: empty: one is made.
            overlap_hours: how long the present one signs too.

        Raises:
            WebhookNotFound: there is none of that id.
        """
        violations = Violations()
        rules.check_secret(secret, violations)
        rules.check_overlap_hours(overlap_hours, violations)
        violations.check()
        secret = secret or new_secret()
        async with self._database.driver() as connection, connection.transaction():
            before = _found(webhook_id, await webhook_repository.select(connection, webhook_id, lock=True))
            after = dataclasses.replace(before, has_secret=True, last_updated_time_ms=self._clock.now_ms())
            await self._replace_secret(connection, after, secret, overlap_hours=overlap_hours)
            rotated = {**_audited(after), "secret_changed": True, "overlap_hours": overlap_hours}
            await self._record(connection, "webhook.secret_rotated", actor, _audited(before), rotated)
        return secret

    async def _check(self, draft: WebhookDraft, *, new: bool) -> None:
        violations = Violations()
        if new or draft.name is not None:
            rules.check_name(draft.name or "", violations)
        if new or draft.events:
            rules.check_events(draft.events, violations)
        text("description", draft.description or "", rules.MAX_DESCRIPTION_LENGTH, violations)
        text("models", draft.models or "", rules.MAX_MODELS_LENGTH, violations)
        rules.check_secret(draft.secret or "", violations)
        if new or draft.url is not None:
            await self._check_url(draft.url or "", violations)
        violations.check()

    async def _check_url(self, text: str, violations: Violations) -> None:
        settings = self._settings
        url = rules.check_url(text, violations, allow_http=settings.webhook_allow_http)
        if url is None or settings.webhook_allow_private_addresses:
            return
        problem = await check_host(
            self._resolver,
            url.raw_host or "",
            url.port or 0,
            timeout_seconds=settings.webhook_timeout_seconds,
        )
        if problem:
            violations.add("url", problem)

    async def _replace_secret(
        self, connection: Connection, webhook: Webhook, secret: str, *, overlap_hours: int
    ) -> None:
        await webhook_repository.replace_secret(
            connection,
            webhook.webhook_id,
            self._secrets.close(secret),
            overlap_hours=overlap_hours,
            now_ms=webhook.last_updated_time_ms,
        )

    async def _record(
        self,
        connection: Connection,
        action: str,
        actor: str,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> None:
        subject = (after or before or {})["name"]
        change = Change(
            chain=WEBHOOKS_CHAIN, action=action, subject=subject, actor=actor, before=before, after=after
        )
        await record_change(connection, change, clock=self._clock)


def _found(webhook_id: str, webhook: Webhook | None) -> Webhook:
    if webhook is None:
        raise WebhookNotFound(webhook_id)
    return webhook


def _changed(webhook: Webhook, draft: WebhookDraft) -> Webhook:
    return dataclasses.replace(
        webhook,
        name=webhook.name if draft.name is None else draft.name,
        url=webhook.url if draft.url is None else draft.url,
        events=list(dict.fromkeys(draft.events)) or webhook.events,
        description=webhook.description if draft.description is None else draft.description,
        status=draft.status or webhook.status,
        models=webhook.models if draft.models is None else draft.models,
        has_secret=webhook.has_secret if draft.secret is None else bool(draft.secret),
    )


def _audited(webhook: Webhook) -> dict[str, Any]:
    """What the audit trail keeps. Many services put their secret into the URL, so it has the host and a digest."""
    return {
        "webhook_id": webhook.webhook_id,
        "name": webhook.name,
        "host": URL(webhook.url).host,
        "url_sha256": hashlib.sha256(webhook.url.encode()).hexdigest(),
        "events": [event_name(event.entity, event.action) for event in webhook.events],
        "description": webhook.description,
        "status": webhook.status.name,
        "models": webhook.models,
        "signed": webhook.has_secret,
    }
