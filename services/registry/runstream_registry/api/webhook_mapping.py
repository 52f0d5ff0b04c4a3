"""Webhooks and deliveries between messages and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_proto.registry.v1 import webhook_service_pb2 as pb

from runstream_registry.webhook_entities import DeliveryState, WebhookEvent, WebhookStatus
from runstream_registry.webhooks.webhooks import WebhookDraft

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream_registry.webhook_entities import Delivery, Webhook
    from runstream_registry.webhooks.delivery import Answer


def created_draft(request: pb.CreateWebhookRequest) -> WebhookDraft:
    """A new webhook."""
    return WebhookDraft(
        name=request.name,
        url=request.url,
        events=events(request.events),
        description=request.description,
        status=_status(request.status),
        models=request.models,
        secret=request.secret,
    )


def updated_draft(request: pb.UpdateWebhookRequest) -> WebhookDraft:
    """What is to change of a webhook."""
    return WebhookDraft(
        name=request.name if request.HasField("name") else None,
        url=request.url if request.HasField("url") else None,
        events=events(request.events),
        description=request.description if request.HasField("description") else None,
        status=_status(request.status),
        models=request.models if request.HasField("models") else None,
        secret=request.secret if request.HasField("secret") else None,
    )


def events(messages: Iterable[pb.WebhookEvent]) -> list[WebhookEvent]:
    """Events as they were asked for."""
    return [WebhookEvent(message.entity, message.action) for message in messages]


def webhook_message(webhook: Webhook) -> pb.Webhook:
    """A webhook, without secrets."""
    return pb.Webhook(
        webhook_id=webhook.webhook_id,
        name=webhook.name,
        url=webhook.url,
        events=[_event_message(event) for event in webhook.events],
        description=webhook.description,
        status=pb.WebhookStatus.ValueType(webhook.status),
        creation_time_ms=webhook.creation_time_ms,
        last_updated_time_ms=webhook.last_updated_time_ms,
        has_secret=webhook.has_secret,
        models=webhook.models,
    )


def test_message(answer: Answer) -> pb.TestWebhookResponse:
    """What came of a test."""
    return pb.TestWebhookResponse(
        success=answer.success,
        response_status=answer.status,
        response_body=answer.body,
        error_message=answer.error,
    )


def delivery_message(delivery: Delivery) -> pb.Delivery:
    """A delivery with its attempts."""
    return pb.Delivery(
        delivery_id=delivery.delivery_id,
        webhook_id=delivery.webhook_id,
        event=_event_message(delivery.event),
        body_json=delivery.body_json,
        state=pb.DeliveryState.ValueType(delivery.state),
        attempts=[
            pb.DeliveryAttempt(
                time_ms=attempt.time_ms,
                response_status=attempt.response_status,
                error_message=attempt.error_message,
                duration_ms=attempt.duration_ms,
            )
            for attempt in delivery.attempts
        ],
        creation_time_ms=delivery.creation_time_ms,
        next_attempt_time_ms=delivery.next_attempt_time_ms,
    )


def delivery_state(number: int) -> DeliveryState | None:
    """The state that is asked for; None means all.

    Raises:
        InvalidArgument: there is no such state.
    """
    if not number:
        return None
    try:
        return DeliveryState(number)
    except ValueError as error:
        raise InvalidArgument.of("state", f"{number} is unknown") from error


def _status(number: int) -> WebhookStatus | None:
    if not number:
        return None
    try:
        return WebhookStatus(number)
    except ValueError as error:
        raise InvalidArgument.of("status", f"{number} is unknown") from error


def _event_message(event: WebhookEvent) -> pb.WebhookEvent:
    return pb.WebhookEvent(entity=event.entity, action=event.action)
