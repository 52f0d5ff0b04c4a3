"""Webhooks and their deliveries as plain frozen values.

Ids are UUIDs in their usual form with hyphens, as in MLflow; times are milliseconds since the Unix epoch (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class WebhookStatus(IntEnum):
    """Whether a webhook is called; the numbers of ``runstream.registry.v1``."""

    ACTIVE = 1
    DISABLED = 2


class DeliveryState(IntEnum):
    """What became of a delivery; the numbers of ``runstream.registry.v1``."""

    PENDING = 1
    DELIVERED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What a webhook is called for, as in ``notices.EXAMPLES``."""

    entity: str
    action: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook without its secrets."""

    webhook_id: str
    name: str
    url: str
    events: Sequence[WebhookEvent]
    description: str
    status: WebhookStatus
    models: str
    has_secret: bool
    creation_time_ms: int
    last_updated_time_ms: int


@dataclass(frozen=True, slots=True)
class StoredSecrets:
    """Secrets as the database has them, perhaps encrypted; empty when there is none."""

    current: str = field(default="", repr=False)
    previous: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery; the status is 0 when there was no answer."""

    time_ms: int
    response_status: int
    error_message: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook, with its attempts, oldest first."""

    delivery_id: str
    webhook_id: str
    event: WebhookEvent
    body_json: str
    state: DeliveryState
    creation_time_ms: int
    next_attempt_time_ms: int
    attempts: Sequence[Attempt]


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that this process may attempt now.

    Args:
        attempt: number of this attempt, from 1; with it the outcome is reported.
        attempt_in_round: the same since it was last asked for by hand.
    """

    delivery_id: str
    webhook_id: str
    url: str
    body_json: str
    secrets: StoredSecrets
    attempt: int
    attempt_in_round: int
