"""Flows over webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument
from runstream_proto.registry.v1 import webhook_service_pb2 as pb

from runstream.query.client_calls import Flow, Page, ready
from runstream.query.client_runs import number_of
from runstream.query.frames import time_of
from runstream.registry.calls import WEBHOOKS, ask, nothing
from runstream.registry.results_webhooks import Delivery, DeliveryAttempt, Webhook, WebhookTest
from runstream.registry.translation import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATUS_PREFIX = "WEBHOOK_STATUS_"
WEBHOOK_STATUS_NUMBERS = {
    name.removeprefix(_STATUS_PREFIX): number for name, number in pb.WebhookStatus.items() if number
}
_STATE_PREFIX = "DELIVERY_STATE_"
DELIVERY_STATE_NUMBERS = {
    name.removeprefix(_STATE_PREFIX): number for name, number in pb.DeliveryState.items() if number
}


def create(
    name: str,
    url: str,
    events: Sequence[str],
    *,
    description: str,
    secret: str,
    status: str,
    models: str,
) -> Flow[Webhook]:
    """Register a webhook."""
    request = pb.CreateWebhookRequest(
        name=name,
        url=url,
        events=events_to_proto(events),
        description=description,
        secret=secret,
        status=_status(status),
        models=models,
    )
    return ask(WEBHOOKS, "CreateWebhook", request, lambda a: _webhook_of(a.webhook))


def get(webhook_id: str) -> Flow[Webhook]:
    """Read one webhook."""
    request = pb.GetWebhookRequest(webhook_id=webhook_id)
    return ask(WEBHOOKS, "GetWebhook", request, lambda a: _webhook_of(a.webhook))


def list_request(page_size: int) -> Flow[pb.ListWebhooksRequest]:
    """The first page's request."""
    return ready(pb.ListWebhooksRequest(page_size=page_size))


def webhook_page(request: pb.ListWebhooksRequest) -> Flow[Page[Webhook]]:
    """One page of webhooks; its token goes into the request for the next."""
    return ask(
        WEBHOOKS,
        "ListWebhooks",
        request,
        lambda a: Page(tuple(_webhook_of(item) for item in a.webhooks), a.next_page_token),
    )


def update(
    webhook_id: str,
    *,
    name: str | None,
    url: str | None,
    events: Sequence[str],
    description: str | None,
    status: str,
    models: str | None,
    secret: str | None,
) -> Flow[Webhook]:
    """Change what is given."""
    request = pb.UpdateWebhookRequest(
        webhook_id=webhook_id,
        name=name,
        url=url,
        events=events_to_proto(events),
        description=description,
        status=_status(status),
        models=models,
        secret=secret,
    )
    return ask(WEBHOOKS, "UpdateWebhook", request, lambda a: _webhook_of(a.webhook))


def delete(webhook_id: str) -> Flow[None]:
    """Delete a webhook."""
    return ask(WEBHOOKS, "DeleteWebhook", pb.DeleteWebhookRequest(webhook_id=webhook_id), nothing)


def test(webhook_id: str, event: str) -> Flow[WebhookTest]:
    """Send a test event at once."""
    request = pb.TestWebhookRequest(webhook_id=webhook_id, event=_event("event", event) if event else None)
    return ask(
        WEBHOOKS,
        "TestWebhook",
        request,
        lambda a: WebhookTest(
            success=a.success,
            response_status=a.response_status,
            response_body=a.response_body,
            error_message=a.error_message,
        ),
    )


def rotate_secret(webhook_id: str, secret: str, overlap_hours: int) -> Flow[str]:
    """Give a webhook a new secret."""
    request = pb.RotateSecretRequest(webhook_id=webhook_id, secret=secret, overlap_hours=overlap_hours)
    return ask(WEBHOOKS, "RotateSecret", request, lambda a: a.secret)


def deliveries_request(webhook_id: str, state: str, page_size: int) -> Flow[pb.ListDeliveriesRequest]:
    """The first page's request."""
    number: Any = number_of("state", state.upper(), DELIVERY_STATE_NUMBERS) if state else None
    return ready(pb.ListDeliveriesRequest(webhook_id=webhook_id, state=number, page_size=page_size))


def delivery_page(request: pb.ListDeliveriesRequest) -> Flow[Page[Delivery]]:
    """One page of the log of deliveries; its token goes into the request for the next."""
    return ask(
        WEBHOOKS,
        "ListDeliveries",
        request,
        lambda a: Page(tuple(_delivery_of(item) for item in a.deliveries), a.next_page_token),
    )


def redeliver(delivery_id: str) -> Flow[None]:
    """Send a delivery once more."""
    return ask(WEBHOOKS, "RedeliverWebhook", pb.RedeliverWebhookRequest(delivery_id=delivery_id), nothing)


def events_to_proto(events: Sequence[str]) -> list[pb.WebhookEvent]:
    """Events as a request takes them.

    Raises:
        InvalidArgument: one is not "ENTITY.ACTION".
    """
    given = [events] if isinstance(events, str) else events
    return [_event(f"events[{number}]", event) for number, event in enumerate(given)]


def _event(field: str, event: str) -> pb.WebhookEvent:
    entity, dot, action = event.partition(".")
    if not (entity and dot and action):
        raise InvalidArgument.of(field, f"{event!r} is not ENTITY.ACTION, such as MODEL_VERSION.CREATED")
    return pb.WebhookEvent(entity=entity.upper(), action=action.upper())


def _status(status: str) -> Any:
    return number_of("status", status.upper(), WEBHOOK_STATUS_NUMBERS) if status else None


def _webhook_of(message: pb.Webhook) -> Webhook:
    return Webhook(
        webhook_id=message.webhook_id,
        name=message.name,
        url=message.url,
        events=tuple(_event_of(item) for item in message.events),
        description=message.description,
        status=name_of(message.status, WEBHOOK_STATUS_NUMBERS),
        creation_time=time_of(message.creation_time_ms),
        last_updated_time=time_of(message.last_updated_time_ms),
        has_secret=message.has_secret,
        models=message.models,
    )


def _delivery_of(message: pb.Delivery) -> Delivery:
    return Delivery(
        delivery_id=message.delivery_id,
        webhook_id=message.webhook_id,
        event=_event_of(message.event),
        body_json=message.body_json,
        state=name_of(message.state, DELIVERY_STATE_NUMBERS),
        attempts=tuple(
            DeliveryAttempt(time_of(a.time_ms), a.response_status, a.error_message, a.duration_ms)
            for a in message.attempts
        ),
        creation_time=time_of(message.creation_time_ms),
        next_attempt_time=time_of(message.next_attempt_time_ms) if message.next_attempt_time_ms else None,
    )


def _event_of(message: pb.WebhookEvent) -> str:
    return f"{message.entity}.{message.action}"
