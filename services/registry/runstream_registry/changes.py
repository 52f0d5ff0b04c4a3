"""The one way to change the registry: the audit entry, the events and the webhooks' deliveries in one call.

The caller writes its change and calls ``record_change`` in the same transaction, once for each change and not at all when
nothing changed. Lock order: first the rows that change (a model's row before anything else of the model), then this.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runstream_common.bus.messages import CONTENT_TYPE, EVENT_ID, EVENT_TYPE
from runstream_common.bus.outbox import KEY_HEADER

from runstream_registry.audit_hash import entry_content, entry_hash
from runstream_registry.change_entities import (
    POLICIES_CHAIN,
    WEBHOOKS_CHAIN,
    Change,
    Event,
    Events,
    model_chain,
)
from runstream_registry.event_json import event_json
from runstream_registry.notices import Notice
from runstream_registry.store import audit_repository, delivery_queue
from runstream_registry.store.audit_repository import NewEntry, OutboxRow

if TYPE_CHECKING:
    from asyncpg import Connection
    from runstream_common.clock import Clock

__all__ = [
    "POLICIES_CHAIN",
    "WEBHOOKS_CHAIN",
    "Change",
    "Event",
    "Events",
    "Notice",
    "model_chain",
    "record_change",
]


async def record_change(connection: Connection, change: Change, *, clock: Clock) -> bytes:
    """Record a change in the caller's transaction.

    Args:
        connection: inside the transaction that makes the change.
        clock: time of the entry, unless the change has one.

    Returns:
        The hash of the audit entry, 32 bytes.
    """
    head = await audit_repository.lock_head(connection, change.chain)
    time_ms = change.time_ms or clock.now_ms()
    sequence = head.sequence + 1
    content = entry_content(change, sequence, time_ms)
    digest = entry_hash(head.hash, content)
    events = change.events(digest) if callable(change.events) else change.events
    entry = NewEntry(change.chain, sequence, time_ms, change.subject, content, digest)
    await audit_repository.append(connection, entry, [_outbox_row(event) for event in events])
    if change.notices:
        await delivery_queue.enqueue(connection, change.notices, time_ms)
    return digest


def _outbox_row(event: Event) -> OutboxRow:
    message: Any = event.message
    headers = {
        EVENT_ID: message.event_id,
        EVENT_TYPE: event.topic.message,
        CONTENT_TYPE: event.topic.content_types[0],
        KEY_HEADER: event.key,
    }
    return OutboxRow(event.topic.name, event_json(event.message), json.dumps(headers))
