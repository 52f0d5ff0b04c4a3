"""Webhooks and their deliveries, as the client returns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream.registry.shapes import Result

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Webhook(Result):
    """A webhook.

    Attributes:
        webhook_id: UUID.
        events: what it is called for, as "ENTITY.ACTION", e.g. "MODEL_VERSION.CREATED".
        status: "ACTIVE" or "DISABLED".
        has_secret: whether calls are signed.
        models: glob over model names; empty means all.
    """

    webhook_id: str
    name: str
    url: str
    events: tuple[str, ...]
    description: str
    status: str
    creation_time: datetime
    last_updated_time: datetime
    has_secret: bool
    models: str


@dataclass(frozen=True, slots=True)
class WebhookTest(Result):
    """What a receiver answered to a test event.

    Attributes:
        success: whether it answered with 2xx.
        response_status: HTTP status; 0 when there was no answer.
        response_body: start of the answer's body.
        error_message: why there was no answer; else empty.
    """

    success: bool
    response_status: int
    response_body: str
    error_message: str


@dataclass(frozen=True, slots=True)
class DeliveryAttempt(Result):
    """One attempt of a delivery; `response_status` is 0 when there was no answer, `error_message` says why."""

    time: datetime
    response_status: int
    error_message: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Delivery(Result):
    """One event for one webhook.

    Attributes:
        delivery_id: UUID; the receiver sees it as X-MLflow-Delivery-Id, the same in every attempt.
        event: as "ENTITY.ACTION".
        body_json: body as sent.
        state: "PENDING", "DELIVERED" or "FAILED".
        attempts: oldest first.
        next_attempt_time: None when there is none to come.
    """

    delivery_id: str
    webhook_id: str
    event: str
    body_json: str
    state: str
    attempts: tuple[DeliveryAttempt, ...]
    creation_time: datetime
    next_attempt_time: datetime | None
