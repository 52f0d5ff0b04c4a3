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
from runstream_registry.store.audit_repository import ChainHead, NewEntry, OutboxRow

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    "record_changes",
]


async def record_change(connection: Connection, change: Change, *, clock: Clock) -> bytes:
    """Record a change in the caller's transaction.

    Args:
        connection: inside the transaction that makes the change.
        clock: time of the entry, unless the change has one.

    Returns:
        The hash of the audit entry, 32 bytes.
    """
    return (await record_changes(connection, [change], clock=clock))[0]


async def record_changes(connection: Connection, changes: Sequence[Change], *, clock: Clock) -> list[bytes]:
    """Record several changes of the caller's transaction in their order; as few statements as for one.

    Args:
        connection: inside the transaction that makes the changes.
        clock: time of the entries, unless a change has one.

    Returns:
        The hash of each audit entry, 32 bytes.
    """
    now_ms = clock.now_ms()
    heads = await audit_repository.lock_heads(connection, sorted({change.chain for change in changes}))
    entries: list[NewEntry] = []
    events: list[OutboxRow] = []
    for change in changes:
        entry = _entry(change, heads[change.chain], change.time_ms or now_ms)
        heads[change.chain] = ChainHead(entry.sequence, entry.hash)
        entries.append(entry)
        told = change.events(entry.hash) if callable(change.events) else change.events
        events += map(_outbox_row, told)
    await audit_repository.append(connection, entries, events)
    notices = [notice for change in changes for notice in change.notices]
    await delivery_queue.enqueue(connection, notices, now_ms)
    return [entry.hash for entry in entries]


def _entry(change: Change, head: ChainHead, time_ms: int) -> NewEntry:
    content = entry_content(change, head.sequence + 1, time_ms)
    digest = entry_hash(head.hash, content)
    return NewEntry(change.chain, head.sequence + 1, time_ms, change.subject, content, digest)


def _outbox_row(event: Event) -> OutboxRow:
    message: Any = event.message
    headers = {
        EVENT_ID: message.event_id,
        EVENT_TYPE: event.topic.message,
        CONTENT_TYPE: event.topic.content_types[0],
        KEY_HEADER: event.key,
    }
    return OutboxRow(event.topic.name, event_json(event.message), json.dumps(headers))
